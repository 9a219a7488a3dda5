"""`python -m eval COMMAND`: the recipes of the embedded model and its examples."""

import argparse
from pathlib import Path

from cgidm.similarity import SHIPPED
from eval.embedder import convert_embedder
from eval.examples import build_examples
from eval.mini import train_all
from eval.reconstruct import measure_reconstruction
from eval.shipped import measure_shipped


def main() -> None:
    parser = argparse.ArgumentParser(prog="eval", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    mini = commands.add_parser("mini", help="train the embedded model; resumes")
    mini.add_argument("--pictures", type=Path, required=True, help="folder with pretrain/ and cc0_paintings/")
    mini.add_argument("--openclipart", type=Path, help="folder with png/ and svg/ of the Open Clip Art Library")
    mini.add_argument("--work", type=Path, default=Path("runs/mini"), help="checkpoints and logs")
    mini.add_argument("--out", type=Path, default=Path("assets/mini"))
    mini.add_argument("--autoencoder-steps", type=int, default=4500)
    mini.add_argument("--unet-steps", type=int, default=2400)
    examples = commands.add_parser("examples", help="fine-tune the shipped examples")
    examples.add_argument("--openclipart", type=Path, required=True)
    examples.add_argument("--base", type=Path, default=Path("assets/mini"))
    examples.add_argument("--assets", type=Path, default=Path("assets"))
    shipped = commands.add_parser("shipped", help="judge the shipped examples; writes shipped.json")
    shipped.add_argument("--assets", type=Path, default=Path("assets"))
    shipped.add_argument("--out", type=Path, default=Path("eval/results"))
    shipped.add_argument("--preset", default="fast")
    reconstruct = commands.add_parser("reconstruct", help="PSNR of the shipped autoencoder; writes reconstruction.json")
    reconstruct.add_argument("folders", type=Path, nargs="+")
    reconstruct.add_argument("--model", type=Path, default=Path("assets/mini"))
    reconstruct.add_argument("--out", type=Path, default=Path("eval/results"))
    embedder = commands.add_parser("embedder", help="convert the offline embedder's weights")
    embedder.add_argument("source", type=Path, help="efficientnet-lite0-57934424.pth")
    embedder.add_argument("--pictures", type=Path, required=True, help="folder with scikit-image's chelsea and coffee")
    embedder.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    if options.command == "mini":
        train_all(
            options.pictures,
            options.openclipart,
            options.work,
            options.out,
            autoencoder_steps=options.autoencoder_steps,
            unet_steps=options.unet_steps,
        )
    elif options.command == "reconstruct":
        print(measure_reconstruction(options.model, options.folders, options.out))
    elif options.command == "embedder":
        convert_embedder(options.source, options.pictures, options.out)
    elif options.command == "shipped":
        measure_shipped(options.assets, options.out, options.preset)
    else:
        build_examples(options.openclipart, options.base, options.assets)


if __name__ == "__main__":
    main()
