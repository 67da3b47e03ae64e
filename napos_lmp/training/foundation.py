"""The model that a fine-tuning starts from: a file of the user's, or one that MACE can download by name.

Either is a pickle, which runs code when it is loaded. It is loaded only after its SHA-256 was accepted: it is on the
card of an accepted potential, or the user said so for this training.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from napos_lmp.backends.mace import contained_imports, is_mace, mace_elements, mace_heads
from napos_lmp.backends.mliap import load_model
from napos_lmp.errors import PotentialError, TrainingError
from napos_lmp.training.mace_config import MaceConfig
from napos_lmp.trust import accepting

_CONNECT_SECONDS = 10.0
_OFF = "_off"


@dataclass(frozen=True)
class Foundation:
    """A foundation model that was looked into: `elements` in its order, `cutoff` in A, `heads` by name."""

    elements: tuple[str, ...]
    cutoff: float
    heads: tuple[str, ...]


def foundation_file(source: Path) -> Path:
    """File of a foundation model: `source` if it is one, else what MACE downloads under that name, or did before.

    Raises
    ------
    TrainingError
        If there is no such file or name, or the download is not possible here.
    """
    if source.is_file():
        return source
    name = str(source)
    if len(source.parts) > 1 or source.suffix:
        raise TrainingError(f"foundation: {source} does not exist")
    with contained_imports():
        from mace.calculators.foundations_models import (
            download_mace_mp_checkpoint,
            mace_mp_urls,
            mace_off_urls,
        )
        from mace.tools.utils import get_cache_dir
    urls: dict[str, str] = mace_mp_urls | {f"{size}{_OFF}": url for size, url in mace_off_urls.items()}
    if name not in urls:
        near = get_close_matches(name, urls, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise TrainingError(
            f"foundation: {name!r} is neither a file nor a model that MACE can download{hint}; "
            f"these are {', '.join(urls)}"
        )
    url = urls[name]
    # the name under which mace.calculators.foundations_models keeps what it has downloaded
    cached = Path(get_cache_dir()) / "".join(
        letter for letter in url.rsplit("/", 1)[-1] if letter.isalnum() or letter == "_"
    )
    if cached.is_file():
        return cached
    try:
        # MACE waits for minutes where nothing answers, so see first whether anything does
        urlopen(url, timeout=_CONNECT_SECONDS).close()  # noqa: S310 - an address out of MACE's own table
        with redirect_stdout(sys.stderr):
            return Path(download_mace_mp_checkpoint(url))
    except (OSError, RuntimeError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise TrainingError(
            f"foundation: {name!r} cannot be downloaded here ({reason}): fetch {url} elsewhere and give the file, "
            "--foundation FILE"
        ) from None


def look_into(file: Path, sha256: str) -> Foundation:
    """Load a foundation model that was accepted, and see what it covers.

    Raises
    ------
    TrainingError
        If it is no MACE model.
    """
    try:
        with accepting(sha256):
            model = load_model(file)
    except PotentialError as error:
        raise TrainingError(f"foundation: {error}") from None
    if not is_mace(model):
        raise TrainingError(f"foundation: {file} is an exported object; give the MACE model that it was made from")
    return Foundation(mace_elements(model), float(model.r_max), mace_heads(model))


def check_foundation(config: MaceConfig, foundation: Foundation) -> None:
    """Refuse a foundation that does not fit a training file.

    Raises
    ------
    TrainingError
        If it lacks an element, or has several heads and none, or a wrong one, is named.
    """
    if missing := [element for element in config.elements if element not in foundation.elements]:
        raise TrainingError(
            f"foundation: {config.foundation} does not know {', '.join(missing)}; "
            f"it covers {', '.join(foundation.elements)}"
        )
    heads, head = foundation.heads, config.foundation_head
    if head is None and len(heads) > 1:
        raise TrainingError(
            f"foundation: {config.foundation} has several heads; set foundation_head to one of {', '.join(heads)}"
        )
    if head is not None and head not in heads:
        raise TrainingError(f"foundation_head: {config.foundation} has no head {head!r}; it has {', '.join(heads)}")
