"""The samples that stand in a folder of ready tokens, as both frameworks' `datasets` reads them."""

import json
from pathlib import Path
from typing import Any

from encode_samples import IdsAndLabels
from probes import FILE


class ReadyRows:
    """Reads the samples of conversations; of packs, as the collator hands them to the model."""

    def __init__(self, folder: str, *, packed: bool) -> None:
        """Open the folder."""
        from datasets import load_from_disk

        self.rows, self.packed = load_from_disk(folder), packed
        probes = json.loads(Path(folder, FILE).read_text("utf-8"))
        self.probes: dict[int, dict[str, Any]] = {probe["conversation"]: probe for probe in probes}
        self.next = 0  # the row of the next conversation, where one follows the other

    def take(self, number: int, wanted: list[IdsAndLabels]) -> list[IdsAndLabels | None]:
        """Return what stands there of the samples of the conversation of this number, which should be as `wanted`.

        One whose place was not kept follows the one before it; in packs it is searched by its tokens.
        """
        if number in self.probes:
            places = self.probes[number]["samples"]
            self.next = max([self.next, *(row + 1 for row, _ in filter(None, places))])
            found = [self._sample(*place) if place else None for place in places]
            return [*found, *(None for _ in wanted)][: len(wanted)]
        if self.packed:
            return self._search(wanted)
        result: list[IdsAndLabels | None] = []
        for ids, _ in wanted:
            result.append(self._sample(self.next, 0) if ids else None)
            self.next += bool(ids)
        return result

    def _sample(self, row: int, start: int) -> IdsAndLabels | None:
        """Return the sample that begins with this token of a row; in a pack it ends where the next begins."""
        if row >= len(self.rows):
            return None
        return dict(self._samples(self.rows[row])).get(start)

    def _samples(self, row: dict[str, Any]) -> list[tuple[int, IdsAndLabels]]:
        """Return the samples of a row with their first tokens' numbers."""
        if not self.packed:
            return [(0, (row["input_ids"], row["labels"]))]
        from packed_collator import collate_packed

        batch = collate_packed([row])
        ids, labels, positions = (batch[name][0].tolist() for name in ("input_ids", "labels", "position_ids"))
        starts = [at for at, position in enumerate(positions) if position == 0]
        ends = [*starts[1:], len(ids)]
        return [(start, (ids[start:end], labels[start:end])) for start, end in zip(starts, ends, strict=True)]

    def _search(self, wanted: list[IdsAndLabels]) -> list[IdsAndLabels | None]:
        missing = {tuple(ids) for ids, _ in wanted if ids}
        found: dict[tuple[int, ...], IdsAndLabels] = {}
        for row in self.rows if missing else ():
            found |= {key: each for _, each in self._samples(row) if (key := tuple(each[0])) in missing}
            if found.keys() == missing:
                break
        return [found.get(tuple(ids)) for ids, _ in wanted]
