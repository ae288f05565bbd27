"""A remark on a result that a reader must see: what is doubtful, where, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Flag:
    """One doubt about a case (no slice) or about one slice.

    ``slice``: 0-based index along the input's own slice axis; ``canonical_slice``: the same slice counted
    from inferior; both None when the whole case is meant. ``kind``: a short fixed word to group and filter by
    ("gap", "area_jump", ...). ``message``: one plain sentence with the number behind it, no patient data.
    """

    slice: int | None
    canonical_slice: int | None
    kind: str
    message: str

    def as_dict(self) -> dict[str, int | str | None]:
        """The fields as JSON-ready values, in the order of declaration."""
        return asdict(self)


def case_flag(kind: str, message: str) -> Flag:
    """A flag on the whole case."""
    return Flag(None, None, kind, message)


def merge_flags(*groups: Iterable[Flag]) -> tuple[Flag, ...]:
    """All flags once: case flags first, then from inferior to superior, in order of arrival within a slice.

    Two flags on the same slice with the same kind are one; the first one's message stays. On the whole case each says
    something else (of several pieces, of several header fields): one flag with all messages.
    """
    seen: dict[tuple[int | None, str], Flag] = {}
    messages: dict[str, dict[str, None]] = {}
    for group in groups:
        for flag in group:
            seen.setdefault((flag.canonical_slice, flag.kind), flag)
            if flag.canonical_slice is None:
                messages.setdefault(flag.kind, {})[flag.message] = None
    for kind, texts in messages.items():
        seen[None, kind] = replace(seen[None, kind], message="; ".join(texts))
    return tuple(sorted(seen.values(), key=lambda flag: -1 if flag.canonical_slice is None else flag.canonical_slice))


def kinds_of_slice(flags: Iterable[Flag], canonical_slice: int) -> tuple[str, ...]:
    """The kinds raised on one slice, each once, in order."""
    return tuple(dict.fromkeys(flag.kind for flag in flags if flag.canonical_slice == canonical_slice))
