"""A study's results as they are used in a notebook: tables, maps, and a summary to read.

`Results` is for people; `streetgauge.study.Study`, on which it stands, knows the files, the
stages, and what is up to date. Nothing is read before it is asked for, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from streetgauge import study
from streetgauge.errors import InputError, closest, require_torch
from streetgauge.io.files import read_table
from streetgauge.io.formats import METRICS_VERSION, read_object
from streetgauge.markup import estimate_text, facts_html, table_html
from streetgauge.settings import FOLD_KINDS

if TYPE_CHECKING:
    import geopandas as gpd
    from matplotlib.figure import Figure

    from streetgauge.features import FeatureStore
    from streetgauge.model import Bundle


# Columns of the table of all outcomes, as in areas.gpkg.
_OF_OUTCOME = {
    "decile": "decile",
    "actual_decile": "actual",
    "difference": "difference",
    "low": "low",
    "high": "high",
    "n_locations": "n_locations",
}


_PLAIN = ("within_1", "spearman")  # metrics without an interval in the table of methods


class Metrics(dict[str, Any]):
    """The content of metrics.json, as it is written there; in a notebook a table.

    Parameters
    ----------
    content : mapping
        The file.
    labels : mapping of outcome to str, optional
        What people call the outcomes.
    title : str
        Above the table.

    Examples
    --------
    >>> metrics = Results("streetgauge-demo").metrics()
    >>> metrics["classes"], sorted(metrics["outcomes"])
    (10, ['crime', 'income', 'low_qualification'])
    """

    def __init__(
        self,
        content: Mapping[str, Any],
        labels: Mapping[str, str] | None = None,
        title: str = "Metrics",
    ) -> None:
        super().__init__(content)
        self.labels = dict(labels or {})
        self.title = title

    def table(self) -> pd.DataFrame:
        """Put the figures that matter into a table.

        Returns
        -------
        DataFrame by outcome
            ``label``, ``n_areas``; ``mae`` (mean absolute error in classes), ``within_1`` (share of
            areas at most one class off) and ``spearman``, each with ``_low`` and ``_high``. For
            each kind of folds ``gain_<kind>``: by how much the mean absolute error is lower than
            that of the best baseline without images, with ``_low``, ``_high`` and ``_over`` (the
            name of that baseline). NaN where a figure is not defined.

        Examples
        --------
        >>> table = Results("streetgauge-demo").metrics().table()
        >>> bool(table["mae"]["income"] < table["mae_high"]["income"])
        True
        """
        rows, evaluations = {}, self.get("outcomes", {})
        order = [name for name in self.labels if name in evaluations]
        for name in dict.fromkeys([*order, *evaluations]):
            about = evaluations[name]
            row = {"label": self.labels.get(name, name), "n_areas": about.get("n_areas")}
            for metric in ("mae", "within_1", "spearman"):
                row |= _interval_cells(metric, about.get("metrics", {}).get(metric))
            for kind, cell in self.get("headline", {}).get(name, {}).items():
                row |= _interval_cells(f"gain_{kind}", (cell or {}).get("mae"))
                row[f"gain_{kind}_over"] = (cell or {}).get("mae", {}).get("over")
            rows[name] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("outcome")

    def methods(self) -> pd.DataFrame:
        """Put the errors of every method on the same areas into a table.

        Returns
        -------
        DataFrame by outcome and method
            ``features`` is the mapped learner, from the images alone; ``best-estimate`` uses all
            that is known. The others follow by ``mae``, the mean absolute error in classes, which
            has ``_low`` and ``_high``. ``uses``: what a method knows of an area
            (``features`` of its images, ``other``, or ``both``); ``within_1``: share of areas at
            most one class off; ``spearman``: Spearman's rho.

        Examples
        --------
        >>> methods = Results("streetgauge-demo").metrics().methods()
        >>> methods.loc["income", "uses"][["best-estimate", "features", "constant"]].tolist()
        ['both', 'features', 'other']
        """
        rows = {}
        for name, about in self.get("outcomes", {}).items():
            best = about.get("best") or {}
            for method, uses, each in (
                ("best-estimate", "both", best.get("metrics")),
                ("features", "features", about.get("metrics")),
            ):
                if each:
                    row = _interval_cells("mae", each.get("mae"))
                    row |= {key: (each.get(key) or {}).get("value") for key in _PLAIN}
                    rows[name, method] = {"uses": uses, **row}
            others = [
                (each["mae"], method, uses, each)
                for group, uses in (("with_images", "features"), ("baselines", "other"))
                for method, each in (about.get(group) or {}).items()
                if each.get("mae") is not None
            ]
            for _, method, uses, each in sorted(others, key=lambda other: other[:2]):
                given = {"value": each["mae"], **(each.get("mae_interval") or {})}
                row = _interval_cells("mae", given) | {key: each.get(key) for key in _PLAIN}
                rows[name, method] = {"uses": uses, **row}
        frame = pd.DataFrame.from_dict(rows, orient="index")
        frame.index = pd.MultiIndex.from_tuples(rows, names=["outcome", "method"])
        return frame

    def _repr_html_(self) -> str:
        table = self.table()
        kinds = list(dict.fromkeys(k for cells in self.get("headline", {}).values() for k in cells))
        rows = []
        for _, row in table.iterrows():
            cells = [_figure(row, "mae"), _figure(row, "within_1", ".0%"), _figure(row, "spearman")]
            cells += [_figure(row, f"gain_{kind}", "+.2f") for kind in kinds]
            rows.append([str(row["label"]), f"{row['n_areas']:,}", *cells])
        columns = ["outcome", "areas", "MAE", "within 1", "Spearman ρ"]
        columns += [f"images add, {FOLD_KINDS.get(kind, kind)}" for kind in kinds]
        scheme = self.get("scheme", {})
        scheme = scheme if isinstance(scheme, Mapping) else {}
        share = f" ({self['interval_level']:.0%} interval)" if "interval_level" in self else ""
        many = "deciles" if self.get("classes") == 10 else "classes"
        how = str(scheme.get("description") or "")
        notes = [
            f"MAE: mean absolute error in {many}{share}. Images add: how much less that is than "
            "by the best baseline without them.",
            f"{how[:1].upper()}{how[1:]}." if how else "",
            f"Caution: {scheme['caution']}" if scheme.get("caution") else "",
        ]
        if not rows:
            notes = ["Nothing was tested, so there are no figures."]
        return table_html(self.title, columns, rows, notes)


class Results:
    """The results of a study: tables, maps, a model, and what is up to date.

    Parameters
    ----------
    path : str or Path
        Its directory, or its study.toml.

    Attributes
    ----------
    files : streetgauge.study.Study
        Its settings, the paths of its files, and which of its stages are up to date.

    Raises
    ------
    InputError
        If there is no study, or its settings cannot be used.

    Examples
    --------
    >>> import streetgauge
    >>> results = streetgauge.Results("streetgauge-demo")
    >>> results.areas("income")["difference"].abs().le(9).all()
    np.True_
    """

    def __init__(self, path: str | Path) -> None:
        self.files = study.Study.open(Path(path).expanduser())

    @property
    def name(self) -> str:
        """What the study is called.

        Examples
        --------
        >>> Results("streetgauge-demo").name
        'Sample city'
        """
        return self.files.settings.name

    @property
    def labels(self) -> dict[str, str]:
        """What people call each outcome, by its name; in the order of the settings.

        Examples
        --------
        >>> Results("streetgauge-demo").labels["income"]
        'Mean household income'
        """
        return {n: each.label or n for n, each in self.files.settings.outcomes.items()}

    def areas(self, outcome: str | None = None) -> gpd.GeoDataFrame | pd.DataFrame:
        """Give the predicted and actual decile of every area.

        Parameters
        ----------
        outcome : str, optional
            One of the study's. Without it all of them stand side by side.

        Returns
        -------
        GeoDataFrame or DataFrame by area
            In longitude and latitude (EPSG:4326), ready for ``.explore()`` and ``.plot()``; a plain
            table where the study has no boundaries. ``name`` and ``district`` where they are known.
            Of one outcome, of the areas that were tested: the columns of ``areas.parquet``, and
            ``difference`` (predicted less actual). Of all outcomes, of every area that has a
            boundary: ``<outcome>_decile``, ``_actual``, ``_difference``, ``_low``, ``_high`` and
            ``_n_locations`` (locations), as in ``areas.gpkg``.

        Raises
        ------
        InputError
            If the study has no such outcome, or no results yet.

        Examples
        --------
        >>> income = Results("streetgauge-demo").areas("income")
        >>> income["decile"].between(1, 10).all()
        np.True_
        """
        table = self._read_table("areas")
        table["difference"] = table["decile"] - table["actual_decile"]
        boundaries = self._boundaries()
        if outcome is not None:
            self._require(outcome)
            from streetgauge.evaluation import tested_areas

            rows = tested_areas(table[table["outcome"] == outcome]).set_index("area")
            return _with_boundaries(boundaries, rows, rows.index)
        wide = pd.concat([_of_outcome(table, name) for name in self.labels], axis=1)
        return _with_boundaries(boundaries, wide, wide.index.union(boundaries.index).rename("area"))

    def metrics(self) -> Metrics:
        """Give the evaluation of the predictions, next to what needs no image.

        Raises
        ------
        InputError
            If the study has no results yet.

        Examples
        --------
        >>> sorted(Results("streetgauge-demo").metrics()["outcomes"]["income"]["metrics"])[:3]
        ['exact', 'kappa', 'kendall']
        """
        path = self._existing(self.files.metrics)
        content = read_object(path, METRICS_VERSION, self._how_to_make("areas"))
        return Metrics(content, self.labels, self.name)

    def plot(self) -> Figure:
        """Draw the error of every method with its interval, for each outcome.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        InputError
            If the study has no results yet, or nothing was tested.

        Examples
        --------
        >>> figure = Results("streetgauge-demo").plot()
        >>> figure.savefig("methods.png")
        """
        from streetgauge.report.figures.drawing import drawing
        from streetgauge.report.figures.study import methods

        metrics = self.metrics()
        with drawing():
            drawn = methods(metrics, {n: self.labels.get(n, n) for n in metrics["outcomes"]})
        if drawn is None:
            raise InputError(self.files.metrics, "nothing was tested", "add areas with a class")
        return drawn.canvas

    def predictions(self, outcome: str | None = None) -> pd.DataFrame:
        """Give score, decile and probabilities of every location, each out of fold.

        Parameters
        ----------
        outcome : str, optional
            Of this one alone.

        Returns
        -------
        DataFrame
            Columns of ``predictions.parquet``.

        Raises
        ------
        InputError
            If the study has no such outcome, or no predictions yet.

        Examples
        --------
        >>> predictions = Results("streetgauge-demo").predictions("income")
        >>> predictions["decile"].between(1, 10).all()
        np.True_
        """
        if outcome is None:
            return self._read_table("predictions")
        self._require(outcome)
        path = self._existing(self.files.predictions)
        return read_table(path, filters=[("outcome", "==", outcome)])

    def skipped(self) -> pd.DataFrame:
        """Give everything that was excluded: location_id, view, area, stage, reason.

        Examples
        --------
        >>> sorted(Results("streetgauge-demo").skipped()["stage"].unique())
        ['features', 'locations']
        """
        return self.files.skips()

    def outcomes(self) -> pd.DataFrame:
        """Give the official statistics by area: ``<outcome>_value`` and ``<outcome>_decile``.

        Examples
        --------
        >>> Results("streetgauge-demo").outcomes()["income_decile"].max()
        np.int64(10)
        """
        return self._read_table("outcomes").set_index("area")

    def locations(self) -> gpd.GeoDataFrame:
        """Give the locations with their areas, as points (EPSG:4326).

        Returns
        -------
        GeoDataFrame
            Columns of ``locations.parquet``, and ``geometry``: None where no position is known.

        Examples
        --------
        >>> Results("streetgauge-demo").locations().crs.to_epsg()
        4326
        """
        import geopandas as gpd

        table = self._read_table("locations")
        points = gpd.GeoSeries.from_xy(table["lon"], table["lat"], crs="EPSG:4326")
        known = table[["lat", "lon"]].notna().all(axis=1)
        return gpd.GeoDataFrame(table, geometry=points.where(known, None))

    def features(self) -> FeatureStore:
        """Open the features of the images; they stay on disk until they are used.

        Returns
        -------
        FeatureStore
            ``features`` [N, V, D], ``present`` [N, V], ``location_ids`` [N].

        Raises
        ------
        InputError
            If there are none yet.

        Examples
        --------
        >>> Results("streetgauge-demo").features().views
        ('a', 'b', 'c', 'd')
        """
        from streetgauge.features import FeatureStore

        return FeatureStore.open(self._existing(self.files.features))

    def bundle(self, name: str = "all") -> Bundle:
        """Load a trained model.

        Parameters
        ----------
        name : str
            ``all``: trained on all areas; ``fold-1``..: on all but those of a fold.

        Raises
        ------
        InputError
            If there is none of that name, or PyTorch is not installed.

        Examples
        --------
        >>> Results("streetgauge-demo").bundle("fold-1").outcomes
        ('income', 'low_qualification', 'crime')
        """
        require_torch()
        from streetgauge.model import Bundle

        model = self.files.model
        if not (model / name / "bundle.json").is_file():
            there = sorted(path.parent.name for path in model.glob("*/bundle.json"))
            step = closest(name, there) if there else self._how_to_make("train")
            raise InputError(model, f"there is no bundle {name!r}", step)
        return Bundle.load(model / name)

    def history(self) -> pd.DataFrame:
        """Give how training went: a row for each evaluation step on the validation part.

        Returns
        -------
        DataFrame
            From `streetgauge.view.training_curves`.

        Examples
        --------
        >>> history = Results("streetgauge-demo").history()
        >>> int(history["epoch"].max())
        3
        """
        from streetgauge.view import training_curves

        return training_curves(self.files)

    def stages(self) -> pd.DataFrame:
        """Report which stages are up to date; files that have changed are read for that.

        Returns
        -------
        DataFrame by stage
            ``state``: ``up to date``, ``out of date``, ``inputs missing``,
            ``inputs unreachable`` or ``not done``; ``started``; ``seconds``; ``messages``.

        Examples
        --------
        >>> Results("streetgauge-demo").stages()["state"]["train"]
        'up to date'
        """
        from streetgauge.study.stages import stages_of

        now = study.Study.open(self.files.file)
        rows = {}
        for stage in stages_of(now):
            about = now.record.get("stages", {}).get(stage.name, {})
            rows[stage.name] = {
                "state": now.state(stage),
                "started": about.get("started"),
                "seconds": about.get("seconds"),
                "messages": "; ".join(about.get("messages", ())),
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("stage")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.files.directory)!r})"

    def _repr_html_(self) -> str:
        if self.files.metrics.is_file():
            summary = self.metrics()._repr_html_()
        else:
            step = self._how_to_make("run").partition("make it with ")[2]
            summary = facts_html(self.name, {"results": f"none yet: {step}"})
        record = study.Study(self.files.file, self.files.settings).record
        about = {
            "directory": self.files.directory,
            "outcomes": ", ".join(self.labels.values()),
            "done": ", ".join(record.get("stages", {})) or "nothing yet",
            "made with": f"streetgauge {record['streetgauge']}"
            if "streetgauge" in record
            else None,
            "seed": self.files.settings.seed,
            "report": self.files.report if self.files.report.is_file() else None,
        }
        return summary + facts_html("", about)

    def _read_table(self, name: str) -> pd.DataFrame:
        return read_table(self._existing(getattr(self.files, name)))

    def _existing(self, path: Path) -> Path:
        if not path.exists():
            raise InputError(path, "this file is not there yet", self._how_to_make("run"))
        return path

    def _how_to_make(self, verb: str) -> str:
        return f"make it with `streetgauge {verb} {self.files.directory}`"

    def _require(self, outcome: str) -> None:
        if outcome not in self.labels:
            step = closest(outcome, self.labels)
            raise InputError(f"outcome {outcome!r}", f"{self.files.file} does not name it", step)

    def _boundaries(self) -> pd.DataFrame:
        """Read names and boundaries by area: of the study's own map, else of the areas' file."""
        settings = self.files.settings
        if self.files.map.is_file():
            from streetgauge.locations.boundaries import read_boundaries

            layer: Any = read_boundaries(self.files.map, "areas").set_index("area")
        elif settings.areas.file is not None and settings.areas.file.exists():
            from streetgauge.locations import read_areas

            layer = read_areas(settings.areas, settings.locations)
        else:
            return pd.DataFrame(index=pd.Index([], dtype="str", name="area"))
        columns = [c for c in ("name", "district", "geometry") if c in layer.columns]
        layer = layer[[c for c in columns if c == "geometry" or layer[c].notna().any()]]
        if "geometry" in layer.columns:
            layer = layer.to_crs(4326)
        return pd.DataFrame(layer)


def _with_boundaries(
    boundaries: pd.DataFrame, table: pd.DataFrame, index: pd.Index
) -> gpd.GeoDataFrame | pd.DataFrame:
    """Put names before and boundaries behind a table, for the areas of an index."""
    rows, boundaries = table.reindex(index), boundaries.reindex(index)
    before = boundaries.drop(columns="geometry", errors="ignore")
    result: pd.DataFrame = pd.concat([pd.DataFrame(before), rows], axis=1).rename_axis("area")
    if "geometry" not in boundaries.columns:
        return result
    import geopandas as gpd

    return gpd.GeoDataFrame(result, geometry=gpd.GeoSeries(boundaries["geometry"]), crs="EPSG:4326")


def _of_outcome(table: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Take an outcome's columns by area, with the outcome in their names."""
    rows = table[table["outcome"] == outcome].set_index("area")[list(_OF_OUTCOME)]
    whole = [name for name, kind in rows.dtypes.items() if kind.kind == "i"]
    rows = rows.astype(dict.fromkeys(whole, "Int64"))  # another outcome may lack some areas
    return rows.rename(columns=lambda name: f"{outcome}_{_OF_OUTCOME[name]}")


def _interval_cells(name: str, figure: Mapping[str, Any] | None) -> dict[str, float | None]:
    estimate = figure or {}
    return {
        name: estimate.get("value"),
        f"{name}_low": estimate.get("low"),
        f"{name}_high": estimate.get("high"),
    }


def _figure(row: pd.Series, name: str, form: str = ".2f") -> str:
    ends = {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
    return estimate_text(ends, form)
