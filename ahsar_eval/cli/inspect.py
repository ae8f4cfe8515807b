"""`ahsar-eval inspect`: what a checkpoint holds."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click


@click.command(
    short_help="A checkpoint's specification, thresholds, controller state and provenance."
)
@click.argument("checkpoint", metavar="CKPT")
@click.option(
    "--model", metavar="PACKAGE.MODULE:FUNCTION", help="The code of a network of your own."
)
@click.option("--input-shape", metavar="C,H,W", help="For a NIR file that does not hold it.")
@click.option(
    "--dt",
    type=float,
    default=1.0,
    show_default=True,
    help="Length of a step in the time unit of a NIR file.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="What is printed.",
)
def inspect(
    checkpoint: str, model: str | None, input_shape: str | None, dt: float, form: str
) -> None:
    """Show what a checkpoint holds: specification, thresholds (base, scale, effective), controller,
    provenance.

    \b
    ahsar-eval inspect digits-vgg13-ahsar
    """
    from ahsar_eval.evaluation.inputs import parse_shape
    from ahsar_eval.homeostasis import read_thresholds
    from ahsar_eval.networks import NirSettings
    from ahsar_eval.networks.checkpoints import load_checkpoint, network_of, replayed_scales
    from ahsar_eval.results.table import Column, Table
    from ahsar_eval.results.text import terminal_width, text_table

    # A NIR file says neither T nor framing: nothing that is shown of it depends on them.
    loaded = load_checkpoint(
        checkpoint,
        nir=NirSettings(timesteps=1, framing="count", input_shape=parse_shape(input_shape), dt=dt),
    )
    net, state = network_of(loaded, model=model, scale=1.0), loaded.homeostasis
    base, scales = read_thresholds(net.backbone), replayed_scales(loaded, net)
    grouped = {} if state is None else state.units
    units = {layer: unit for unit, layers in grouped.items() for layer in layers}
    spec = loaded.spec.to_dict()
    if loaded.is_nir:
        spec = {name: spec[name] for name in ("backbone", "input_shape", "classes")}
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
    content: dict[str, Any] = {
        "checkpoint": loaded.name,
        "sha256": loaded.sha256,
        "method": loaded.method,
        "spec": spec,
        "parameters": sum(tensor.numel() for name, tensor in net.backbone.named_parameters()),
        "thresholds": thresholds,
        "homeostasis": controller,
        "provenance": dict(loaded.provenance),
    }
    if form == "json":
        click.echo(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False))
        return

    def drawn(rows: Sequence[Mapping[str, Any]], *columns: Column) -> str:
        return text_table(Table("", columns, rows), terminal_width())

    def listed(values: Mapping[str, Any], title: str) -> str:
        rows = [{"name": name, "value": str(value)} for name, value in values.items()]
        return drawn(rows, Column("name", title), Column("value", "value"))

    parts = [
        f"{loaded.name}\nsha256 {loaded.sha256}\nmethod {loaded.method}, {content['parameters']:,} "
        "trained parameters",
        listed(spec, "specification"),
    ]
    if loaded.is_nir:
        nodes = [
            {"node": name, "module": type(module).__name__, "constants": module.extra_repr()}
            for name, module in net.backbone.named_children()
        ]
        parts.append(drawn(nodes, *(Column(key, key) for key in ("node", "module", "constants"))))
    parts.append(
        drawn(
            thresholds,
            Column("layer", "spiking layer"),
            Column("unit", "unit"),
            Column("base", "base", ".4f"),
            Column("scale", "scale", ".6f"),
            Column("effective", "effective threshold", ".6f"),
        )
    )
    if state is None or controller is None:
        constant = (
            "" if loaded.fixed_scale == 1 else f"; every threshold times {loaded.fixed_scale:g}"
        )
        constant = "; thresholds frozen at the scales above" if loaded.layer_scales else constant
        parts.append(f"controller: none{constant}")
    else:
        keys = ("units", "state", "smoothed_rate", "scale", "ema_scale")
        rates = controller["smoothed_rate"] or [None] * len(controller["units"])
        held = {**controller, "smoothed_rate": rates}
        rows = [
            dict(zip(keys, values, strict=True))
            for values in zip(*(held[key] for key in keys), strict=True)
        ]
        parts.append(
            drawn(
                rows,
                Column("units", "unit"),
                Column("state", "state c", ".6f"),
                Column("smoothed_rate", "smoothed rate", ".4f"),
                Column("scale", "scale s", ".6f"),
                Column("ema_scale", "EMA scale (replayed)", ".6f"),
            )
        )
        parts.append(
            f"gain {state.gain.gain:.6f} after {controller['steps']} optimisation steps; "
            f"step mode {controller['step_mode']}, {controller['ticks']} ticks a step, sensing "
            f"{controller['sensing']}"
        )
        parts.append(listed(controller["params"], "parameter"))
    facts = [
        f"  {name}: {value}"
        for name, value in loaded.provenance.items()
        if name not in ("params", "versions", "classes")
    ]
    parts.append("\n".join(["provenance", *facts]) if facts else "provenance: none")
    click.echo("\n\n".join(parts))
