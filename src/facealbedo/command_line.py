"""The `facealbedo` command: photos in, relightable faces out, without Kedro."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facealbedo.core.errors import FaceAlbedoError

if TYPE_CHECKING:
    from facealbedo.params.reconstruct import ReconstructParams

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
verify_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
VERIFY = "verify"


@app.command(epilog="`facealbedo verify FOLDER` compares finished faces with their manifests.")
def reconstruct(
    photos: Annotated[Path, typer.Argument(help="A photo, or a folder that is searched for photos.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("facealbedo_out"),
    faces: Annotated[str, typer.Option(help="Which faces of a photo: 'all' or 'largest'.")] = "all",
    detector: Annotated[str, typer.Option(help="'mediapipe' or 'face_alignment'.")] = "mediapipe",
    refine: Annotated[str, typer.Option(help="'network', 'separation', 'quotient' or 'prior'.")] = "network",
    weights: Annotated[str | None, typer.Option(help="Own weights for --refine network; else those that ship.")] = None,
    texture_px: Annotated[int, typer.Option(help="Side of the texture maps: 256, 512, 1024 or 2048.")] = 1024,
    expression: Annotated[str, typer.Option(help="Geometry: 'fitted' or 'neutral' expression.")] = "fitted",
    morph_targets: Annotated[bool, typer.Option(help="Write the expression units into the GLB.")] = False,
) -> None:
    """Reconstruct every face of PHOTOS as an evenly lit 3D asset.

    Writes a folder a face (face.glb, albedo.png, ...), summary.csv and index.html. A photo that cannot be used becomes
    a row with a reason. A second call does only what is missing. Nothing leaves this machine.
    """
    options = {
        "photos": str(photos),
        "faces": faces,
        "detector": detector,
        "texture_px": texture_px,
        "refine": {"method": refine, "weights": weights},
        "export": {"expression": expression, "morph_targets": morph_targets},
    }
    raise SystemExit(_run(options, output))


def _run(options: dict[str, object], output: Path) -> int:
    """Validate the options, reconstruct with a progress bar, and return the exit status."""
    from pydantic import ValidationError

    from facealbedo.params.reconstruct import ReconstructParams

    try:
        params = ReconstructParams.model_validate(options)
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            typer.echo(f"facealbedo: {name}: {problem['msg']}", err=True)
        return 2
    try:
        return _reconstruct(params, output)
    except FaceAlbedoError as error:
        typer.echo(f"facealbedo: {error}", err=True)
        return 1
    except KeyboardInterrupt:
        typer.echo("facealbedo: stopped; finished faces are kept, run again to go on", err=True)
        return 130


def _reconstruct(params: ReconstructParams, output: Path) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from facealbedo.reconstructor import reconstruct_folder

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Reconstructing", total=None)
        summary = reconstruct_folder(
            params, output, on_photo=lambda done, total: progress.update(task, completed=done, total=total)
        )
    done, other = summary.counts()
    typer.echo(f"{done} faces in {summary.index_path}" + (f"; {other} not reconstructed:" if other else ""))
    for row in summary.rows:
        if row.status != "done":
            typer.echo(f"  {row.photo}: {row.reason}", err=True)
    return 0 if done else 1


@verify_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of one face, or of a run.")],
) -> None:
    """Compare finished faces with their manifests: altered, missing and extra files are named; status 1 if any."""
    from facealbedo.dataloading.verification import verify as checks_of

    sound = True
    try:
        for check in checks_of(folder):
            sound &= check.is_sound
            typer.echo(f"{check.name}: " + (f"{check.files} files as made" if check.is_sound else check.message))
            for row in check.differences:
                typer.echo(f"  {row.kind}: {row.name}")
    except FaceAlbedoError as error:
        typer.echo(f"facealbedo: {error}", err=True)
        sound = False
    raise SystemExit(0 if sound else 1)


def main() -> None:
    """Run the command. A folder of photos named "verify" is reached as ./verify."""
    if sys.argv[1:2] == [VERIFY]:
        verify_app(sys.argv[2:], prog_name=f"facealbedo {VERIFY}")
    app()


if __name__ == "__main__":
    main()
