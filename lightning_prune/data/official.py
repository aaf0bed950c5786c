"""Where the official files of a data set lie."""

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from lightning_prune.data.base import ImageData

ENVIRONMENT = "LIGHTNING_PRUNE_DATA"


class OfficialImages(ImageData):
    r"""Images from a data set's official files, found below one root for all data sets.

    Nothing is ever written, unless `download` asks torchvision to fetch what is missing.

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        subset: Folder inside the data set's that holds a smaller version of the files, or None.
        download: Whether missing files are downloaded.
        options: The arguments of `ImageData`: batch_size, workers, seed, validation, augment,
            drop_last.

    Attributes:
        folders: Where the set is looked for below the root, in this order.
        inner: Folder inside the set's (or its subset's) that holds the files.
        contents: What the files are called in messages.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given, or files are missing
            and not to be downloaded.
        ValueError: In `setup`, if a file is damaged or foreign.
    """

    folders: ClassVar[tuple[str, ...]]
    inner: ClassVar[str] = ""
    contents: ClassVar[str]

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        subset: str | None = None,
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = data_root(root)
        if not isinstance(subset, str | None):
            raise ValueError(
                f"subset is the name of a folder inside the data set's, not {subset!r}."
            )
        self.subset, self.download = subset, download

    @abstractmethod
    def complete(self, folder: Path) -> bool:
        """Whether a folder holds all the files."""

    def prepare_data(self) -> None:
        """Download missing files, if that was asked for; say what is missing, if not."""
        if self.download and self.subset is None and self.find() is None:
            import torchvision

            getattr(torchvision.datasets, self.name)(str(self.root), download=True)
        self.folder()

    def folder(self) -> Path:
        """Find the folder of the files, or say what is missing."""
        folder = self.find()
        if folder is None:
            fetch = "pass download=True, or " if self.subset is None else ""
            raise FileNotFoundError(
                f"{self.name} is not in {self.root}; {fetch}put {self.contents} into "
                f"{self.places()[0]}."
            )
        return folder

    def find(self) -> Path | None:
        """Find the first folder with all files."""
        return next((place for place in self.places() if self.complete(place)), None)

    def places(self) -> list[Path]:
        """Folders where the files may be."""
        root = known(self.root, self.name)
        return [root / folder / (self.subset or "") / self.inner for folder in self.folders]


def data_root(root: str | os.PathLike[str] | None) -> Path | None:
    """The folder of the data sets: the one given, else the environment's, else None."""
    place = root or os.environ.get(ENVIRONMENT)
    return Path(place).expanduser() if place else None


def known(root: Path | None, name: str) -> Path:
    """Refuse to look for a data set where there is no root."""
    if root is None:
        raise FileNotFoundError(
            f"{name} does not know where its files are; pass root= (data.root= on the command "
            f"line) or set {ENVIRONMENT}."
        )
    return root
