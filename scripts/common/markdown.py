"""Tables for reports."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; what would break its lines or cells is made harmless."""
    lines = [[" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
