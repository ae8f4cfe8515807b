"""Request → Plan → run: everything that is asked of networks, for every command."""
