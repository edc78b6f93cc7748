"""Tables in pages of docs/ that a script writes, between two marks."""


def table(head, rows):
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)] + rows
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write_between(page, begin, end, found):
    """Puts what was found between the marks of the page, in the place of what is there."""
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n\n{found}\n\n{end}{rest.partition(end)[2]}")
