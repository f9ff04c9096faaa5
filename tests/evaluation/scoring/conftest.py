"""Rows without end, and how much memory they cost."""

import psutil
import pytest


@pytest.fixture
def grown():
    """Return a function that reads rows on, and one that tells by how many MiB the process has grown meanwhile.

    What is imported and allocated once counts as being there before: it is, when a tenth of the first rows is read.
    """
    process, sizes = psutil.Process(), []

    def watched(rows, count):
        for number, row in enumerate(rows):
            if number >= count // 10 and number % (count // 20) == 0:
                sizes.append(process.memory_info().rss)
            yield row
        sizes.append(process.memory_info().rss)

    return watched, lambda: (max(sizes) - sizes[0]) / (1 << 20)
