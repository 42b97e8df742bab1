from agreement import agreement, oracle, pytest_terminal_summary

__all__ = ["agreement", "oracle", "pytest_terminal_summary"]
