"""`ahsar-eval inspect`: what a checkpoint holds."""

import functools
import json
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.calibrate import set_points_table
from ahsar_eval.cli.commands import own_options
from ahsar_eval.errors import HomeostasisError

if TYPE_CHECKING:
    from ahsar_eval.networks import ModelSpec
    from ahsar_eval.networks.checkpoints import WeightsOfOthers


@click.command(
    short_help="A checkpoint's specification, thresholds, controller state and provenance."
)
@click.argument("checkpoint", metavar="CKPT")
@own_options("inspect")
def inspect(
    checkpoint: str,
    model: str | None = None,
    key: str | None = None,
    input_shape: str | None = None,
    dt: float = 1.0,
    form: str = "table",
) -> None:
    """Show what a checkpoint holds: specification, thresholds (base, scale, effective), controller,
    provenance; of a file of another tool the weights, and with --model the thresholds.

    \b
    ahsar-eval inspect digits-vgg13-ahsar
    """
    from ahsar_eval.evaluation.calibration import measured_on, rows_of
    from ahsar_eval.evaluation.inputs import parse_shape
    from ahsar_eval.homeostasis import read_thresholds
    from ahsar_eval.networks import NirSettings
    from ahsar_eval.networks.checkpoints import (
        load_checkpoint,
        network_of,
        replayed_scales,
        set_points_of,
        weights_of_others,
    )
    from ahsar_eval.results.table import Table, read_columns, text_rows
    from ahsar_eval.results.text import terminal_width, text_table

    shape = parse_shape(input_shape)
    others = None if model is not None else weights_of_others(checkpoint)
    if others is not None:
        click.echo(_weights_told(others, form))
        return
    # A NIR file says neither T nor framing, a state dict neither of them, nor shape and classes:
    # nothing that is shown depends on them.
    loaded = load_checkpoint(
        checkpoint,
        external_spec=None if model is None else functools.partial(_own_spec, model, shape),
        key=key,
        nir=NirSettings(timesteps=1, framing="count", input_shape=shape, dt=dt),
    )
    net, state = network_of(loaded, model=model, scale=1.0, called=False), loaded.homeostasis
    base, scales = read_thresholds(net.backbone), replayed_scales(loaded, net)
    grouped = state.units.items() if state else ()
    units = {layer: unit for unit, layers in grouped for layer in layers}
    spec = loaded.spec.to_dict()
    if loaded.is_nir:
        spec = {name: spec[name] for name in ("backbone", "input_shape", "classes")}
    elif loaded.is_foreign:
        spec = {name: spec[name] for name in ("backbone", "step_mode")}
    thresholds = [
        {
            "layer": layer,
            "unit": units.get(layer),
            "base": base[layer],
            "scale": scales[layer],
            "effective": base[layer] * scales[layer],
        }
        for layer in base
    ]
    controller = None if state is None else state.to_dict()
    points, no_points = None, "set points: none (ahsar-eval calibrate measures them)"
    try:
        points = set_points_of(loaded)
    except HomeostasisError as error:  # a file beside it
        no_points = f"set points: none; {error}"
    content: dict[str, Any] = {
        "checkpoint": loaded.name,
        "sha256": loaded.sha256,
        "method": loaded.method,
        "spec": spec,
        "parameters": sum(tensor.numel() for tensor in net.backbone.parameters()),
        "thresholds": thresholds,
        "homeostasis": controller,
        "set_points": None if points is None else {**points.data, "layers": [*rows_of(points)]},
        "provenance": dict(loaded.provenance),
    }
    if form == "json":
        click.echo(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False))
        return

    columns = read_columns(__file__, "inspect")
    parts: list[str | Table] = [
        f"{loaded.name}\nsha256 {loaded.sha256}\nmethod {loaded.method}, {content['parameters']:,} "
        "trained parameters",
        text_rows("", ["specification", "value"], [[name, str(spec[name])] for name in spec]),
    ]
    if loaded.is_nir:
        nodes = [
            [name, type(module).__name__, module.extra_repr()]
            for name, module in net.backbone.named_children()
        ]
        parts.append(text_rows("", ["node", "module", "constants"], nodes))
    parts.append(Table("", columns["thresholds"], thresholds))
    if state is None or controller is None:
        constant = (
            "" if loaded.fixed_scale == 1 else f"; every threshold times {loaded.fixed_scale:g}"
        )
        constant = "; thresholds frozen at the scales above" if loaded.layer_scales else constant
        parts.append(f"controller: none{constant}")
    else:
        rates = controller["smoothed_rate"] or [None] * len(controller["units"])
        held = {**controller, "smoothed_rate": rates}
        keys = [column.key for column in columns["controller"]]
        rows = [
            dict(zip(keys, values, strict=True))
            for values in zip(*(held[key] for key in keys), strict=True)
        ]
        params = controller["params"].items()
        parts += [
            Table("", columns["controller"], rows),
            f"gain {state.gain.gain:.6f} after {controller['steps']} optimisation steps; "
            f"step mode {controller['step_mode']}, {controller['ticks']} ticks a step, sensing "
            f"{controller['sensing']}",
            text_rows("", ["parameter", "value"], [[name, str(value)] for name, value in params]),
        ]
    if points is None:
        parts.append(no_points)
    else:
        where = "in it" if loaded.set_points is not None else "in the file beside it"
        parts += [f"set points {where}: {measured_on(points)}", set_points_table(points)]
    facts = [
        f"  {name}: {value}"
        for name, value in loaded.provenance.items()
        if name not in ("params", "versions", "classes")
    ]
    parts.append("\n".join(["provenance", *facts]) if facts else "provenance: none")
    width = terminal_width()
    drawn = (text_table(one, width) if isinstance(one, Table) else one for one in parts)
    click.echo("\n\n".join(drawn))


def _own_spec(model: str, shape: tuple[int, int, int] | None) -> "ModelSpec":
    """What must be said of a network of one's own for its weights to be read."""
    from ahsar_eval.networks import ModelSpec, load_user_network, step_mode_of

    mode = step_mode_of(load_user_network(model))
    return ModelSpec(model, shape or (1, 1, 1), classes=2, timesteps=1, step_mode=mode)


def _weights_told(held: "WeightsOfOthers", form: str) -> str:
    """What a file of another tool holds, without the network it fills."""
    from ahsar_eval.results.table import text_rows
    from ahsar_eval.results.text import terminal_width, text_table

    content = held.to_dict()
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=False)
    parts = [f"{held.name}\nsha256 {held.sha256}\nweights of another tool (--model: thresholds)"]
    for key, tensors in content["weights"].items():
        rows = [
            [name, "×".join(map(str, facts["shape"])), facts["type"]]
            for name, facts in tensors.items()
        ]
        drawn = text_table(text_rows("", ["tensor", "shape", "type"], rows), terminal_width())
        parts.append(f"{f'under {key}' if key else 'of the file'}\n{drawn}")
    unread = [f"  {place}: {kind}" for place, kind in held.unread.items()]
    parts += ["\n".join(["left unread, for it would run code", *unread])] if unread else []
    return "\n\n".join(parts)
