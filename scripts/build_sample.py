"""Build the embedded sample from the tarball of the Sign Language Digits data set.

Usage: python scripts/build_sample.py sign-language-digits.tar.gz [FOLDER]

Writes sheet.jpg (64 columns of 64 x 64 photographs), index.csv (file, label, signer) and LICENSE
to FOLDER, by default the package's data/sample.
"""

import argparse
import csv
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

SIZE = 64
COLUMNS = 64
QUALITY = 95
CLASS_DROP = 5
NUMBER_GAP = 1000


class Photograph(NamedTuple):
    """One file of the archive."""

    digit: int
    number: int
    image: Image.Image


def photographs(archive: tarfile.TarFile) -> list[Photograph]:
    """Read every photograph, upright and resized, in the order of the file numbers."""
    found = []
    for member in archive.getmembers():
        path = Path(member.name)
        if not member.isfile() or path.suffix != ".JPG":
            continue
        with Image.open(archive.extractfile(member)) as image:
            small = ImageOps.exif_transpose(image).convert("RGB")
        small = small.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        number = int(path.stem.removeprefix("IMG_"))
        found.append(Photograph(int(path.parent.name), number, small))
    return sorted(found, key=lambda photograph: photograph.number)


def signers(ordered: list[Photograph]) -> list[int]:
    """Return the signer of each photograph, from the order of the digits.

    A session is the digits 0 to 9 in turn. A new signer begins where the digit falls by more than
    5 or the number jumps by more than 1000 (another camera). Smaller falls are retakes and swapped
    pairs, or a session cut short: those stay with the signer before, so that a doubt merges two
    signers and never splits one.
    """
    signer = 0
    result = [0]
    for before, after in pairwise(ordered):
        fell = before.digit - after.digit > CLASS_DROP
        jumped = after.number - before.number > NUMBER_GAP
        signer += fell or jumped
        result.append(signer)
    return result


def main() -> None:
    """Write the sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tarball", type=Path)
    default = Path(__file__).parents[1] / "src" / "coview" / "data" / "sample"
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    arguments = parser.parse_args()
    with tarfile.open(arguments.tarball) as archive:
        ordered = photographs(archive)
        licence = archive.extractfile("LICENSE").read()
    rows = sorted(
        zip(ordered, signers(ordered), strict=True), key=lambda row: (row[0].digit, row[0].number)
    )
    sheet = Image.new("RGB", (SIZE * COLUMNS, SIZE * -(-len(rows) // COLUMNS)))
    for position, (photograph, _) in enumerate(rows):
        row, column = divmod(position, COLUMNS)
        sheet.paste(photograph.image, (SIZE * column, SIZE * row))
    # 4:4:4 keeps the 8 x 8 blocks of neighbouring photographs apart.
    sheet.save(arguments.folder / "sheet.jpg", quality=QUALITY, subsampling=0, optimize=True)
    with (arguments.folder / "index.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "label", "group"])
        for photograph, signer in rows:
            name = f"{photograph.digit}/IMG_{photograph.number}.JPG"
            writer.writerow([name, photograph.digit, signer])
    (arguments.folder / "LICENSE").write_bytes(licence)


if __name__ == "__main__":
    main()
