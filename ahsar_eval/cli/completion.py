"""`ahsar-eval completion`: the script that teaches a shell to complete the commands and options."""

import click

from ahsar_eval.data import EVENT_SHIFTS, SETS, SHIFTS

SCORES = (
    "entropy entropy-of-mean-softmax mean-entropy mutual-information msp max-logit energy gen "
    "msp-temperature odin knn mahalanobis relative-mahalanobis vim scp all"
).split()


def known_names(kind: str, begun: str) -> list[str]:
    """Names of sets (with their shifts behind a colon), scores, profiles or checkpoints that begin
    so; nothing heavy is imported for them."""
    if kind == "set" and ":" in begun:
        name, _, _ = begun.partition(":")
        events = name in SETS and SETS[name].modality == "events"
        known = [f"{name}:{shift}" for shift in (*(EVENT_SHIFTS if events else SHIFTS), "all")]
    else:
        known = {"set": lambda: [*SETS, "near", "far"], "score": lambda: SCORES}[kind]()
    return [name for name in known if name.startswith(begun)]


@click.command(short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell; evaluate it in the shell's start-up file.

    \b
    eval "$(ahsar-eval completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(
            kind(context.find_root().command, {}, "ahsar-eval", "_AHSAR_EVAL_COMPLETE").source()
        )
