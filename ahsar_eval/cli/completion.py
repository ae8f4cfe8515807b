"""`ahsar-eval completion`: the script that teaches a shell to complete the commands and options."""

import click


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
