"""The card of a bundle: what the model is, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streetgauge.learn.bundle import Bundle

__all__ = ["write_card"]


def write_card(bundle: Bundle) -> str:
    """Describe a bundle in Markdown."""
    return (
        "\n\n".join(
            [
                f"# Street pictures to deciles: {', '.join(_labels(bundle))}",
                _what(bundle),
                "## How it was trained\n\n" + _how(bundle),
                "## Figures on the validation part\n\n" + _figures(bundle),
                "## Use and limits\n\n" + _limits(),
                "## Sources\n\n" + _sources(bundle),
            ]
        )
        + "\n"
    )


def _what(bundle: Bundle) -> str:
    classes = bundle.model.classes
    return (
        f"For every location and outcome this model gives a score and the probability of each of "
        f"{classes} classes, from the features of the location's street pictures: class 1 is worst "
        f"off, class {classes} best off. There is one network per outcome; they share nothing but "
        f"the features ({bundle.dimension} a picture, from "
        f"{_named(bundle.source, 'backbone', 'a backbone that is not named')})."
    )


def _how(bundle: Bundle) -> str:
    training, settings = bundle.training, bundle.settings
    part = (
        "all areas"
        if bundle.name == "all"
        else f"all areas but those of {bundle.name}, which were held out for testing"
    )
    return (
        f"Trained on {part}: {training.training_locations:,} locations in "
        f"{training.training_areas:,} areas. Another {training.validation_areas:,} areas "
        f"({training.validation_locations:,} locations) were not learnt from; they said when to "
        "stop and how far to spread the scores.\n\n"
        f"Network `{settings.network}` (Suel, Polak, Bennett and Ezzati 2019, "
        "doi:10.1038/s41598-019-42036-w) with a binomial head; Adam, learning rate "
        f"{settings.learning_rate:g}, batches of {settings.batch}, at most {settings.epochs} "
        f"epochs, patience {settings.patience}; classes weighted to count the same; seed "
        f"{bundle.seed}; streetgauge {bundle.code_version}."
    )


def _figures(bundle: Bundle) -> str:
    training = bundle.training
    rows = zip(
        _labels(bundle),
        training.best_epoch,
        training.validation_loss,
        training.validation_mae,
        bundle.model.calibration.tolist(),
        strict=True,
    )
    table = "\n".join(
        f"| {label} | {epoch} | {loss:.3f} | {mae:.2f} | {a:+.3f} | {b:.3f} |"
        for label, epoch, loss, mae, (a, b) in rows
    )
    return (
        "These areas chose the epoch and the calibration, so the figures flatter. They are per "
        "location and are no test of the model: the study's report has the test.\n\n"
        "| outcome | best epoch | loss | mean absolute error, classes | a | b |\n"
        "| --- | --- | --- | --- | --- | --- |\n" + table
    )


def _limits() -> str:
    return (
        "Made to describe areas: average the scores of an area's locations. A single location's "
        "class is weak evidence, and nothing here says anything about a household or a person. The "
        "model finds what street pictures show and what goes along with it in the places and "
        "years that it was trained on; elsewhere, and later, it can be wrong without a sign. "
        "Compare it with official figures of some areas before use in another city, and do not "
        "use it to decide about people."
    )


def _sources(bundle: Bundle) -> str:
    source = bundle.source
    lines = [
        f"- Features: {_named(source, 'backbone', 'not named')}; weights sha256 "
        f"{_named(source, 'weights_sha256', 'not given')}; licence "
        f"{_named(source, 'licence', 'not given')}."
    ]
    if source.get("views"):
        lines.append(f"- Views: {', '.join(map(str, source['views']))}.")
    for outcome in bundle.outcomes:
        about = _about(bundle, outcome)
        facts = [str(about[key]) for key in ("publisher", "file", "licence") if about.get(key)] or [
            "source not given"
        ]
        lines.append(f"- {about.get('label') or outcome}: {'; '.join(facts)}.")
    return "\n".join(lines)


def _labels(bundle: Bundle) -> list[str]:
    return [str(_about(bundle, outcome).get("label") or outcome) for outcome in bundle.outcomes]


def _about(bundle: Bundle, outcome: str) -> dict[str, Any]:
    return dict(bundle.source.get("outcomes", {}).get(outcome, {}))


def _named(source: Any, key: str, otherwise: str) -> str:
    return str(source.get(key) or otherwise)
