"""Every fault of a table is one sentence, all of them at once, and nothing is written."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geryon.cohort.fit import Course, fit_slides
from geryon.cohort.question import Question
from geryon.cohort.table import read_cohort
from geryon.errors import GeryonError, InputError, UsageError
from tests.cohort.cohorts import volume, write

LABEL = Question(labels=("y",))
Rows = list[dict[str, object]]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight volumes, one without tissue, one of another encoder, one of another patch, a twin."""
    folder = tmp_path_factory.mktemp("slides")
    for k in range(8):
        volume(folder / "out", f"s{k}", 1.0, side=2)
    volume(folder / "out", "empty", 1.0, side=2, tissue=np.zeros((2, 2), bool))
    volume(folder / "out", "other", 1.0, side=2, encoder="bigan", encoder_sha256="1" * 64)
    volume(folder / "out", "patch", 1.0, side=2, patch_um=128.0)
    volume(folder / "out", "mean", 1.0, side=2, turns="mean")
    volume(folder / "out", "legacy", 1.0, side=2, is_legacy=True)
    volume(folder / "out", "stained", 1.0, side=2, question={"stain normalisation": "a"})
    volume(folder / "out", "stride", 1.0, side=4, stride_um=32.0)
    volume(folder / "out", "coarse", 1.0, side=2, mpp=1.0)
    volume(folder / "twin", "s3", 1.0, side=2)
    (folder / "twin" / "s3").rename(folder / "out" / "twin")
    (folder / "out" / "none").mkdir()
    return folder


def table(slides: Path, tmp_path: Path, change: Callable[[Rows], object] = lambda rows: None) -> Path:
    rows: Rows = [
        {"slide": f"s{k}", "patient": f"p{k}", "features": str(slides / "out" / f"s{k}"), "y": "ab"[k % 2],
         "t": k + 1, "e": k % 2, "v": k / 7}
        for k in range(8)
    ]  # fmt: skip
    change(rows)
    return write(tmp_path / "slides.csv", rows)


def to(k: int, **cells: object) -> Callable[[Rows], object]:
    return lambda rows: rows[k].update(cells)


def every(**cells: Callable[[int], object]) -> Callable[[Rows], object]:
    return lambda rows: [row.update({name: of(k) for name, of in cells.items()}) for k, row in enumerate(rows)]


def place(name: str) -> Callable[[Rows], object]:
    """The features of s3 are this folder instead."""
    return lambda rows: rows[3].update(features=str(Path(str(rows[3]["features"])).parent / name))


def place_all(folder: Path) -> Callable[[Rows], object]:
    return every(features=lambda k: str(folder / f"s{k}"))


SURVIVAL, ORDINAL = Question(time="t", event="e"), Question(labels=("y",), kind="ordinal")
FAULTS = [
    (to(3, y=""), LABEL, r"column 'y' is blank for s3; fill it"),
    (to(3, y="NA"), LABEL, r"column 'y' is blank for s3"),
    (place("absent"), LABEL, r"s3: .*absent.*: there is no such volume"),
    (place("none"), LABEL, r"s3: .*none.*: there is no such volume"),
    (place("other"), LABEL, r"encoders: s3 with name bigan in place of mean-rgb, sha256 1{12} in place of 0{12}"),
    (place("patch"), LABEL, r"different encoders: s3 with patch_um 128.0 in place of 64.0"),
    (place("mean"), LABEL, r"different encoders: s3 with patches mean of turns in place of plain"),
    (place("legacy"), LABEL, r"different encoders: s3 with patches legacy in place of plain"),
    (place("stained"), LABEL, r"different encoders: s3 with patches stain normalised in place of plain"),
    (place("stride"), LABEL, r"different encoders: s3 with stride_um 32.0 in place of 64.0"),
    (place("coarse"), LABEL, r"different encoders: s3 with mpp 1.0 in place of 0.5"),
    (place("empty"), LABEL, r"no tissue in s3; leave out slides without tissue with --skip-empty"),
    (lambda rows: (place("twin")(rows)), LABEL, None),  # alone it is a slide like any other
    (lambda rows: rows.append({**rows[0], "slide": "t", "patient": "p12",
                               "features": str(rows[3]["features"])[:-2] + "twin"}), LABEL,
     r"s3 and t hold the same codes or objects: one slide under several names"),
    (to(3, slide="s2"), LABEL, r"s2 stands in more than one row"),
    (lambda rows: rows[3].update(features=rows[2]["features"]), LABEL, r"s3 and s2 are given the same features"),
    (to(3, slide=""), LABEL, r"the slide is blank in 1 row"),
    (to(3, patient=""), LABEL, r"the patient is blank for s3"),
    (every(y=lambda k: "a" if k else "b"), LABEL, r"the class 'b' has one patient \(p0\), who can't be both"),
    (every(y=lambda k: "a"), LABEL, r"column 'y': it holds one class alone \(a\)"),
    (every(y=lambda k: "abc"[k % 3]), Question(labels=("y",), kind="binary"), r"holds 3 classes \(a, b, c\), not two"),
    (every(y=lambda k: "abc"[k % 3]), ORDINAL, r"its classes \(a, b, c\) have no order; give it: --classes"),
    (lambda rows: None, Question(labels=("y",), classes=("a",)), r"it holds b, which the classes asked for do not"),
    (lambda rows: None, Question(labels=("y",), classes=("a", "b", "c"), kind="multiclass"), r"no slide is of .* c"),
    (to(3, v="high"), Question(labels=("v",), kind="regression"), r"column 'v': 'high' is no number, in the row of s3"),
    (every(v=lambda k: 3), Question(labels=("v",), kind="regression"), r"column 'v' holds one value alone"),
    (to(3, t=0), SURVIVAL, r"the time 0 is not above 0, in the row of s3"),
    (to(3, t=-4), SURVIVAL, r"the time -4 is not above 0"),
    (to(3, e=2), SURVIVAL, r"the event '2' is neither 0 nor 1, in the row of s3"),
    (every(e=lambda k: 0), SURVIVAL, r"column 'e': all are censored"),
    (every(e=lambda k: int(k == 2)), SURVIVAL, r"one patient alone has an event"),
    (to(3, patient="p2"), SURVIVAL, r"slides of a patient differ in time or event: p2"),
    (to(3, e=""), SURVIVAL, r"column 'e' is blank for s3"),
    (every(fold=lambda k: k % 3, patient=lambda k: f"p{k // 2}"), LABEL, r"patients stand in more than one fold: p0"),
    (every(fold=lambda k: k % 2), LABEL, r"the column of folds holds 2; give 3 or more"),
    (every(fold=lambda k: "" if k == 4 else k % 3), LABEL, r"the fold is blank for s4"),
    (every(fold=lambda k: k // 3, e=lambda k: int(k < 6)), SURVIVAL,
     r"column 'e': the fold 3 has no event \(6 patients have one in all\), and each fold validates; make fewer"),
    (every(e=lambda k: int(k < 3)), SURVIVAL, r"the folds \d and \d have no event \(3 patients"),
    (every(fold=lambda k: k % 3, e=lambda k: int(k < 3)), SURVIVAL, r"3 patients with an event in 3 folds leave 1 to"),
    (every(fold=lambda k: (0, 0, 0, 0, 1, 1, 1, 2)[k]), LABEL, r"8 slides in 3 folds leave 1 to learn from, beside"),
    (every(w=lambda k: k % 2, y=lambda k: int(k == 0)), Question(labels=("y", "w")),
     r"column 'y': the value 1 has one patient"),
    (lambda rows: None, Question(labels=("y",), objects=True), r"s3: no objects: .*no run.json; it holds features"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "question", "told"), FAULTS)
def test_a_fault_is_one_sentence(slides: Path, tmp_path: Path, change, question: Question, told: str | None) -> None:
    path = table(slides, tmp_path, change)
    if told is None:
        assert len(read_cohort(path, question).slides) == 8
        return
    with pytest.raises(InputError, match=told):
        fit_slides(path, out=tmp_path / "run", question=question, course=Course(model="mean"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (Question(labels=("yy",)), r"there is no column 'yy' \(there are: slide, patient, .*\); did you mean y\?"),
        (Question(time="t", event="evnt"), r"there is no column 'evnt'"),
        (Question(time="t"), r"survival takes --time COLUMN and --event COLUMN"),
        (Question(labels=("y",), kind="survival"), r"survival takes --time COLUMN and --event COLUMN, and no --label"),
        (
            Question(labels=("y",), time="t", event="e", kind="binary"),
            r"binary takes --label COLUMN, and no --time or --e",
        ),
        (Question(labels=("y", "v"), kind="binary"), r"binary takes one label column, not 2"),
        (Question(labels=("y",), kind="gues"), r"no slide target is called 'gues'; choose one of: binary"),
        (Question(), "nothing is asked"),
    ],
)
def test_what_is_asked_wrongly_is_an_error_of_usage(
    slides: Path, tmp_path: Path, question: Question, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        fit_slides(table(slides, tmp_path), out=tmp_path / "run", question=question, course=Course(model="mean"))
    assert not (tmp_path / "run").exists()


def test_all_faults_are_told_at_once(slides: Path, tmp_path: Path) -> None:
    def spoil(rows: Rows) -> None:
        rows[1].update(y="")
        place("other")(rows)
        rows[5].update(patient="")
        rows[6].update(features="nowhere")

    with pytest.raises(InputError) as error:
        read_cohort(table(slides, tmp_path, spoil), Question(labels=("y", "absent")))
    told = str(error.value)
    assert "5 faults" not in told and "there is no column 'absent'" in told
    assert all(part in told for part in ("patient is blank for s5", "bigan", "nowhere")) and "4 faults" in told


def test_folds_that_cannot_be_chosen_by_are_told_beside_other_faults(slides: Path, tmp_path: Path) -> None:
    def spoil(rows: Rows) -> None:
        every(fold=lambda k: k % 4, e=lambda k: int(k % 4 > 0))(rows)
        rows[5].update(patient="")

    with pytest.raises(InputError) as error:
        read_cohort(table(slides, tmp_path, spoil), SURVIVAL)
    assert "2 faults" in str(error.value) and "the fold 1 has no event" in str(error.value)


def test_folds_are_told_beside_a_label_without_classes(slides: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_cohort(table(slides, tmp_path, every(y=lambda k: "a", fold=lambda k: k % 2)), LABEL)
    assert "2 faults" in str(error.value) and "it holds one class alone" in str(error.value)
    assert "the column of folds holds 2" in str(error.value)


def test_classes_that_survival_has_not_are_told_beside_other_faults(slides: Path, tmp_path: Path) -> None:
    question = Question(time="t", event="e", classes=("a", "b"))
    with pytest.raises(InputError) as error:
        read_cohort(table(slides, tmp_path, to(3, t=0)), question)
    assert "--classes is for binary" in str(error.value) and "the time 0 is not above 0" in str(error.value)
    with pytest.raises(UsageError, match="--classes is for binary"):
        read_cohort(table(slides, tmp_path), question)


def test_slides_on_grids_of_their_own_are_of_one_encoder(slides: Path, tmp_path: Path) -> None:
    sides = [(0.5, 64.0, 32.0), (0.499, 63.872, 31.936), (0.5054, 64.6912, 31.8402), (0.46, 58.88, 32.2)]
    for k in range(8):
        mpp, patch_um, stride_um = sides[k % 4]  # 128 pixels every 32 µm, in whole pixels of each grid
        volume(tmp_path / "out", f"s{k}", k, side=2, mpp=mpp, patch_um=patch_um, stride_um=stride_um)
    place = place_all(tmp_path / "out")
    assert len(read_cohort(table(slides, tmp_path, place), LABEL).slides) == 8
    for k in (6, 7):
        volume(tmp_path / "strange", f"s{k}", k, side=2, stride_um=32.0, encoder="bigan", encoder_sha256="1" * 64)

    def strangers(rows: Rows) -> None:
        place(rows)
        rows[6]["features"], rows[7]["features"] = (str(tmp_path / "strange" / f"s{k}") for k in (6, 7))

    with pytest.raises(InputError, match="different encoders: s6 and s7 with name bigan in place of mean-rgb"):
        read_cohort(table(slides, tmp_path, strangers), LABEL)


def test_codes_of_several_precisions_are_told_once(slides: Path, tmp_path: Path) -> None:
    for k in range(8):
        volume(tmp_path / "out", f"s{k}", 1.0, side=2, precision=("float32", "int8", "")[min(k % 4, 2)])
    path, question = table(slides, tmp_path, place_all(tmp_path / "out")), Question(labels=("y",), kind="binary")
    cohort = read_cohort(path, question)
    (note,) = cohort.notes
    assert note.startswith("codes of 2 slides were computed in float32, 2 in int8: they differ a little")
    assert "delete the volumes of the others and compress them again with the --engine" in note
    assert cohort.precisions == {"float32": 2, "int8": 2}
    assert read_cohort(table(slides, tmp_path), question).notes == ()


def test_a_kind_that_nobody_gave_is_told(slides: Path, tmp_path: Path) -> None:
    path = table(slides, tmp_path)
    assert any("'y' is taken for binary; --target" in note for note in read_cohort(path, LABEL).notes)
    for question in (Question(labels=("y",), kind="binary"), SURVIVAL):
        assert not any("taken for" in note for note in read_cohort(path, question).notes)


def test_empty_slides_are_left_out_where_that_is_asked(slides: Path, tmp_path: Path) -> None:
    cohort = read_cohort(table(slides, tmp_path, place("empty")), Question(labels=("y",), skip_empty=True))
    assert len(cohort.slides) == 7 == len(cohort.truth) and cohort.left_out == ("s3",)
    assert any("without tissue: s3" in note for note in cohort.notes)


def test_slides_are_patients_where_no_column_says_so(slides: Path, tmp_path: Path) -> None:
    cohort = read_cohort(table(slides, tmp_path, lambda rows: [row.pop("patient") for row in rows]), LABEL)
    assert cohort.patients == [slide.name for slide in cohort.slides] and "taken for a patient" in cohort.notes[0]


def test_a_folder_of_volumes_takes_the_place_of_the_column(slides: Path, tmp_path: Path) -> None:
    path = table(slides, tmp_path, lambda rows: [row.pop("features") for row in rows])
    assert len(read_cohort(path, Question(labels=("y",), features=slides / "out")).slides) == 8
    with pytest.raises(UsageError, match="give --features FOLDER"):
        read_cohort(path, LABEL)


def test_parquet_and_semicolons_are_the_same_table(slides: Path, tmp_path: Path) -> None:
    path = table(slides, tmp_path)
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pq.write_table(pa.Table.from_pylist([{**row, "t": float(row["t"]), "e": row["e"] == "1"} for row in rows]),
                   tmp_path / "slides.parquet")  # fmt: skip
    (tmp_path / "excel.csv").write_text(path.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8-sig")
    expected = read_cohort(path, SURVIVAL).truth
    for other in ("slides.parquet", "excel.csv"):
        assert np.array_equal(read_cohort(tmp_path / other, SURVIVAL).truth, expected)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("slide,y\n", "it has no rows"),
        ("slide,y\na,1,2\n", "line 2 has 3 cells"),
        ("slide,slide\na,1\n", "'slide' stands twice"),
        ("name,y\na,1\n", "there is no column 'slide'"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(GeryonError, match=told):
        read_cohort(tmp_path / "t.csv", LABEL)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read: No such file"):
        read_cohort(tmp_path / "t.csv", LABEL)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["a", "b", "a"], "binary"),
        (["1", "2", "3"], "multiclass"),
        ([str(k / 3) for k in range(20)], "regression"),
        (["0.5", "1", "2"], "regression"),
        ([f"x{k}" for k in range(20)], "multiclass"),
    ],
)
def test_the_kind_of_question_is_told_by_its_column(cells: list[str], kind: str) -> None:
    from geryon.cohort.targets import guessed

    assert guessed([cells]) == kind and guessed([cells, cells]) == "multilabel"


def test_a_grid_is_asked_of_an_h5_only_by_the_cnn(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    rows = []
    for k in range(6):
        with h5py.File(tmp_path / f"s{k}.h5", "w") as file:
            file["features"] = np.random.default_rng(k).normal(size=(5, 4)).astype(np.float32)
            file["coords"] = np.zeros((5, 2), np.int64)
        rows.append({"slide": f"s{k}", "y": "ab"[k % 2]})
    path = write(tmp_path / "t.csv", rows)
    question = Question(labels=("y",), features=tmp_path)
    with pytest.raises(InputError, match="no grid of cells in s0, s1, s2, s3 and 2 more, which this model needs"):
        fit_slides(path, out=tmp_path / "run", question=question, course=Course(model="cnn"))
    cohort = read_cohort(path, question)
    assert cohort.encoder.code == 4 and cohort.slides[0].cells.tissue.shape == (1, 5)
