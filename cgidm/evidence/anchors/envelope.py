"""What lies around the manifest of a bundle: seal, signatures, time stamps. They can be added to a sealed bundle."""

import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ...errors import UserError
from ...files import atomic_path
from ..bundle_reader import CHUNK, EPOCH, Bundle, FolderBundle, open_bundle
from ..seal import MANIFEST, SEAL, check_seal, is_envelope

MOST = 99  # signatures, or stamps, of one bundle
ADDED = "evidence.problem.added"


def pack_files(path: Path, names: Iterable[str], copy: Callable[[str, Callable[[bytes], object]], object]) -> Path:
    """Write a zip of these files, framed as `bundle_reader` expects it; the same files always give the same bytes.

    Args:
        path: the zip, which is replaced as a whole.
        names: of its files, in their order.
        copy: hands the bytes of a file, in pieces, to the function that it gets.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with packed.open(entry, "w") as target:
                copy(name, target.write)
    return path


def envelope_of_folder(folder: Path) -> list[str]:
    """The files of a folder that belong to the envelope: manifest and seal first, then the others by their names."""
    found = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    others = sorted(name for name in found if is_envelope(name) and name not in (MANIFEST, SEAL))
    return [MANIFEST, SEAL, *others]


def next_number(names: Iterable[str], folder: str, label: str) -> int:
    """The number of the next signature or stamp in `folder`.

    Raises:
        UserError: if there are too many.
    """
    taken = [int(n.removeprefix(f"{folder}/")[:2]) for n in names if n.startswith(f"{folder}/") and is_envelope(n)]
    number = max(taken, default=0) + 1
    if number > MOST:
        raise UserError("evidence.full_envelope", bundle=label, most=MOST)
    return number


def require_whole(bundle: Bundle) -> None:
    """See that a bundle is as it was sealed, before somebody signs it or has it stamped.

    What else lies in a folder is no part of what is signed.

    Raises:
        UserError: if it is not; with the first file that was altered.
    """
    in_folder = isinstance(bundle, FolderBundle)
    if problems := [p for p in check_seal(bundle) if not (in_folder and p.note.code == ADDED)]:
        raise UserError("evidence.not_whole", bundle=bundle.label, files=len(problems), first=str(problems[0]))


def add_to_bundle(path: Path, files: Mapping[str, bytes]) -> None:
    """Put files of the envelope into a bundle, folder or zip; every other file stays as it is.

    Raises:
        UserError: if the bundle is not whole.
    """
    with open_bundle(path) as bundle:
        require_whole(bundle)
        if path.is_dir():
            for name, data in files.items():
                (path / name).parent.mkdir(exist_ok=True)
                (path / name).write_bytes(data)
            return
        names = dict.fromkeys((*bundle.sizes, *files))

        def copy(name: str, write: Callable[[bytes], object]) -> None:
            if name in files:
                write(files[name])
                return
            with bundle.open(name) as source:
                while piece := source.read(CHUNK):
                    write(piece)

        pack_files(path, names, copy)
