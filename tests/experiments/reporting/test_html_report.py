"""The report as one page: safe, whole, the same each time, and right."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from experiments import report
from experiments.reporting import canvas
from experiments.reporting.html import figures as html_figures
from experiments.reporting.html import scores, text_tables, verdict
from experiments.reporting.html.entries import find_test_sets
from experiments.reporting.html.errors import Thumbnails, rank_errors
from experiments.reporting.html.report import write_report
from experiments.reporting.load_runs import find_classifiers

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "<script>alert('x')<b>"


class Page(HTMLParser):
    """Tags with their attributes, and what a reader sees."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def change_summary(path: Path, **changes: object) -> Path:
    summary = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(json.dumps({**summary, **changes}))
    return path


def write(tmp_path: Path, **options: object) -> Page:
    return Page(report.main(report.Options((tmp_path / "runs",), tmp_path / "out", **options)))


@pytest.fixture
def hostile_page(make_run, tmp_path) -> Page:
    classes = ("=1+1", 'a"b', "<i>c|d</i>&_%")
    config = {"variant": HOSTILE}
    for seed in (0, 1):
        make_run(f"{HOSTILE}/seed-{seed}", classes=classes, seed=seed, experiment=HOSTILE,
                 config=config, data='"><img src=x onerror=alert(1)>\u202e',
                 options={"split": "</pre><script>"})  # fmt: skip
    return write(tmp_path)


def test_no_name_becomes_markup(hostile_page):
    assert {tag for tag, _ in hostile_page.tags}.isdisjoint({"script", "b", "i", "link", "iframe"})
    assert not [name for _, held in hostile_page.tags for name in held if name.startswith("on")]
    assert "1. <script>alert('x')<b>" in hostile_page.text
    assert "<i>c|d</i>&_%" in hostile_page.text
    assert '"><img src=x onerror=alert(1)>\\u202e' in hostile_page.text, "shown, not obeyed"


def test_nothing_is_loaded_from_elsewhere(hostile_page):
    policy = [held["content"] for tag, held in hostile_page.tags if held.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    sources = [held["src"] for _, held in hostile_page.tags if "src" in held]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    links = [held["href"] for tag, held in hostile_page.tags if tag == "a"]
    ids = {held["id"] for _, held in hostile_page.tags if held.get("id")}
    assert {link[1:] for link in links if link.startswith("#")} <= ids, "contents lead somewhere"
    files = {link for link in links if not link.startswith("#")}
    assert files == {f"{n}{e}" for n in ("results", "classes") for e in (".md", ".csv", ".tex")}


def test_tables_as_files_are_safe_too(hostile_page, tmp_path):
    markdown = (tmp_path / "out/classes.md").read_text()
    assert r"\<i\>c\|d\</i\>&amp;_%" in markdown
    columns = {row.replace(r"\|", "").count("|") for row in markdown.splitlines()}
    assert columns == {9}, "no name starts a column"
    assert r"<i>c|d</i>\&\_\%" in (tmp_path / "out/classes.tex").read_text()
    assert r"\toprule" in (tmp_path / "out/results.tex").read_text()
    table = pd.read_csv(tmp_path / "out/classes.csv")
    assert table["class"].tolist() == ["'=1+1", 'a"b', "<i>c|d</i>&_%"]


def test_the_same_runs_give_the_same_bytes(make_run, tmp_path):
    paths = [make_run(f"m{index}/seed-0", seed=0, skill=index) for index in range(2)]
    for name, roots in (("one", paths), ("two", paths[::-1])):
        report.main(report.Options(tuple(roots), tmp_path / name))
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == 10
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_synthetic_results_share_no_table_with_real_ones(make_run, tmp_path):
    make_run("real/seed-0")
    made_up = make_run("made-up/seed-0", is_synthetic=True)
    page = write(tmp_path)
    assert pd.read_csv(tmp_path / "out/results.csv")["model"].tolist() == ["real"]
    assert pd.read_csv(tmp_path / "out/synthetic-results.csv")["model"].tolist() == ["made-up"]
    assert (tmp_path / "out/synthetic-results.md").read_text().startswith("SYNTHETIC data")
    assert "(1 run) tested on 60 images in 60 groups, 3 classes." in page.text
    assert "SYNTHETIC data: the figures show that it runs" in page.text
    (made_up / "summary.json").unlink()
    page = write(tmp_path)
    assert not (tmp_path / "out/synthetic-results.md").exists(), "nothing stale stays"
    assert "runs/made-up/seed-0" in page.text, "an unfinished run is named"


def test_scores_equal_scikit_learn(make_run):
    groups = [str(index // 2) for index in range(60)]
    for seed in (0, 1):
        make_run(f"m/seed-{seed}", seed=seed, skill=1.0, groups=groups)
    path = make_run("other/seed-0", groups=groups).parents[1]
    (test_set,) = find_test_sets(find_classifiers([path]))
    entry = test_set.entries[0]
    assert (entry.title, entry.seeds, test_set.num_groups) == ("1. m", [0, 1], 30)
    row = scores.build_results(test_set).iloc[0]
    values = [balanced_accuracy_score(f["label"], f["pred"]) for f in entry.frames]
    assert row["balanced_accuracy"] == pytest.approx(np.mean(values))
    assert row["balanced_accuracy_sd"] == pytest.approx(np.std(values, ddof=1))
    assert row["balanced_accuracy_by_seed"] == " ".join(f"{value:.4f}" for value in values)
    assert row["balanced_accuracy_low"] < np.mean(values) < row["balanced_accuracy_high"]
    probs = [f"prob_{name}" for name in sorted(test_set.classes)]
    areas = [roc_auc_score(f["label"], f[probs], multi_class="ovr") for f in entry.frames]
    assert row["macro_auroc"] == pytest.approx(np.mean(areas))
    pooled = pd.concat(entry.frames)
    classes = scores.build_classes(test_set).query("number == 1")
    recall = recall_score(pooled["label"], pooled["pred"], average=None)
    assert classes["recall"].tolist() == pytest.approx(recall.tolist())
    assert classes["support"].tolist() == [20, 20, 20]


def test_pairs_are_of_the_same_share_of_labels(make_run):
    for name, percent, skill in (("a/split-1", 1, 0), ("a/split-10", 10, 1), ("b/split-10", 10, 6)):
        for seed in (0, 1):
            path = make_run(f"{name}/seed-{seed}", seed=seed, skill=skill)
            change_summary(path, label_percent=percent)
    (test_set,) = find_test_sets(find_classifiers([path.parents[2]]))
    pairs = scores.build_pairs(test_set)
    assert pairs[["first", "second", "label_percent"]].to_numpy().tolist() == [[2, 3, 10]]
    results = scores.build_results(test_set)
    means = results.set_index("number")["accuracy"]
    assert pairs.loc[0, "accuracy"] == pytest.approx(means[2] - means[3])
    assert pairs.loc[0, "accuracy_high"] < 0
    assert pairs.loc[0, "common_seeds"] == 2
    sentences = verdict.describe_test_set(test_set, results, pairs)
    assert len(sentences) == 3
    assert "3 models (6 runs) tested on 60 images in 60 groups" in sentences[0]
    assert sentences[1].startswith("With 1 % of the labels: 1. a/split-1")
    assert sentences[1].endswith("nothing to compare it with.")
    assert "always naming one class gives 1/3 = 0.333" in sentences[0]
    assert f"3. b/split-10, balanced accuracy {means[3]:.3f}" in sentences[2]
    lead = -pairs.loc[0, "balanced_accuracy"]
    assert f"by {lead:.3f} [{-pairs.loc[0, 'balanced_accuracy_high']:+.3f}" in sentences[2]


def test_the_verdict_says_who_names_one_class_only_and_calls_equals_equal(make_run):
    always = [[0.2, 0.5, 0.3]] * 60
    for seed in (0, 1):
        make_run(f"a/seed-{seed}", probs=always, seed=seed)
        path = make_run(f"b/seed-{seed}", probs=always if seed else None, skill=-4, seed=seed)
        make_run(f"c/seed-{seed}", probs=always, seed=seed)
    root = path.parents[1]

    def judge(*names: str) -> str:
        (test_set,) = find_test_sets(find_classifiers([root / name for name in names]))
        results, pairs = scores.build_results(test_set), scores.build_pairs(test_set)
        return verdict.describe_test_set(test_set, results, pairs)[1]

    alike = judge("a", "c")
    assert "1. a, balanced accuracy 0.333 [0.333, 0.333], names b only, equals 2. c (" in alike
    assert "leads" not in alike
    other = judge("a", "b")
    assert "names b only, leads 2. b (" in other
    assert ", names b only with 1 of 2 seeds) by 0." in other


@pytest.mark.parametrize(
    ("p_value", "t_p", "words"),
    [
        (0.2, 0.01, "no more than the choice of test images may explain"),
        (0.01, 0.2, "no more than the seeds may explain"),
        (0.01, float("nan"), "what the seed does is not known"),
        (0.0001, 0.01, "p < 0.001 over test groups, p = 0.010 over 3 seeds: more than"),
    ],
)
def test_the_verdict_asks_for_other_images_and_for_other_seeds(p_value, t_p, words):
    assert words in verdict._judge({"p": p_value, "t_p": t_p, "seeds": 3})


def test_reliability_is_drawn_of_every_model(make_run, tmp_path):
    for name in ("one", "two"):
        make_run(f"{name}/seed-0")
    drawn = [held.get("alt") for tag, held in write(tmp_path).tags if tag == "img"]
    assert [f"Reliability of {title}" in drawn for title in ("1. one", "2. two")] == [True, True]


def test_a_learning_curve_needs_two_shares_of_labels(make_run, tmp_path):
    change_summary(make_run("m/split-1/seed-0"), label_percent=1)
    assert "Learning curve" not in write(tmp_path).text
    change_summary(make_run("m/split-10/seed-0"), label_percent=10)
    assert "Learning curve" in write(tmp_path).text


def test_a_test_on_other_images_has_a_section_and_missing_classes_a_row(make_run, tmp_path):
    path = make_run("m/seed-0", other_tests=("TestB",))
    frame = pd.read_csv(path / "predictions-TestB.csv")
    frame[frame["label"] != "c"].to_csv(path / "predictions-TestB.csv", index=False)
    page = write(tmp_path)
    table = pd.read_csv(tmp_path / "out/results.csv")
    assert table["scope"].tolist() == ["all classes", "all classes", "restricted to a, b"]
    assert set(table["test_images"]) == {40, 60}
    assert "cells, TestB" in page.text


def test_errors_are_ranked_by_what_the_seeds_together_are_sure_of(make_run):
    labels = ["a", "a", "b", "c"]
    sure, unsure = [0.05, 0.9, 0.05], [0.3, 0.4, 0.3]
    right_b, right_c = [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
    make_run("m/seed-0", labels, [sure, unsure, right_b, right_c], seed=0)
    path = make_run("m/seed-1", labels, [[1, 0, 0], [0.2, 0.6, 0.2], right_b, right_b], seed=1)
    (test_set,) = find_test_sets(find_classifiers([path.parent]))
    found = rank_errors(test_set.entries[0])
    assert [(e.sample_id, e.pred, e.prob, e.num_wrong) for e in found] == [
        ("test/0001.png", "b", 0.6, 2),
        ("test/0000.png", "b", 0.9, 1),
        ("test/0003.png", "b", 0.8, 1),
    ]


@pytest.fixture
def pictured(make_run, tmp_path) -> Path:
    for index in range(4):
        path = tmp_path / f"data/nested/test/000{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (400, 200), (200, 40 * index, 90)).save(path)
    labels = ["a", "b", "c", "a"]
    wrong = [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    return make_run("m/seed-0", labels, wrong, options={"data_root": "data"})


def thumbnails_of(page: Page) -> list[str]:
    uris = [held.get("src") or "" for tag, held in page.tags if tag == "img"]
    return [uri for uri in uris if uri.startswith("data:image/jpeg")]


def test_errors_are_shown_unless_images_are_left_out(pictured, tmp_path):
    page = write(tmp_path)
    found = thumbnails_of(page)
    assert len(set(found)) == 4, "nested in a folder that the sample ids leave out"
    assert all(len(uri) < 6000 for uri in found)
    assert "a, read as b: p = 1.000" in page.text
    page = write(tmp_path, images=False)
    assert not thumbnails_of(page)
    assert "Images were left out" in page.text
    (tmp_path / "data").rename(tmp_path / "moved")
    assert "images were not found under the data root" in write(tmp_path).text


def test_images_of_a_prepared_set_are_found_by_its_manifest(pictured, tmp_path):
    (tmp_path / "data").rename(tmp_path / "moved")
    (tmp_path / "data").mkdir()
    rows = [f"test/000{index}.png,nested/test/000{index}.png" for index in range(4)]
    (tmp_path / "data/manifest.csv").write_text("\n".join(["sample_id,path", *rows]))
    (tmp_path / "data/manifest.json").write_text(json.dumps({"image_root": "../moved"}))
    assert len(thumbnails_of(write(tmp_path))) == 4


def test_no_name_leads_out_of_the_data_root(pictured, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (run,) = find_classifiers([pictured])
    thumbnails = Thumbnails()
    assert thumbnails.find(run, "test/0000.png")
    assert thumbnails.find(run, "nested/test/0000.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "test/0000.png\0", "", "x" * 5000):
        assert thumbnails.find(run, name) is None
    (tmp_path / "data/nested/test/0001.png").write_bytes(b"no image")
    assert thumbnails.find(run, "test/0001.png") is None


def write_audit(path: Path, leaks: list[dict], split: str = "train") -> None:
    row = {"split": split, "label": "<b>", "num_images": 9, "num_groups": 7, "largest_group": 2}
    counts = {f"num_{kind}": 9 for kind in ("images", "photographs", "scenes")}
    content = {"level": "photograph", "sources": ["/somewhere/secret/cells"], "scene_leaks": [],
               "independent": [row], "leaks": leaks, **counts}  # fmt: skip
    path.write_text(json.dumps(content))


def test_the_audit_s_verdict_is_shown(make_run, tmp_path):
    make_run("m/seed-0")
    assert "None was given." in write(tmp_path).text
    write_audit(tmp_path / "audit.json", [])
    page = write(tmp_path, audit=(tmp_path,))
    assert "No leak: no group (by photograph) is in two splits" in page.text
    assert "secret" not in page.text
    leak = {"kind": "split", "group": "<p>", "sides": {"train": 2, "test": 1}, "examples": {}}
    write_audit(tmp_path / "audit.json", [leak])
    page = write(tmp_path, audit=(tmp_path / "audit.json",))
    assert "LEAKS: 1 by split" in page.text
    assert "split: <p>: 2 in train, 1 in test" in page.text
    write_audit(tmp_path / "audit.json", [], split="")
    page = write(tmp_path, audit=(tmp_path,))
    assert "No leak:" not in page.text
    assert "No splits given, so nothing can leak between them. Some groups hold" in page.text
    (tmp_path / "audit.json").write_text("[]")
    with pytest.raises(ValueError, match="no leakage audit"):
        write(tmp_path, audit=(tmp_path,))


def test_a_group_of_both_validation_and_test_is_a_leak(make_run, tmp_path):
    path = make_run("m/seed-0")
    warning = "groups in test and validation: LEAK: a group stands in both, in 1 of 1 runs."
    assert write(tmp_path).text.count(warning) == 2, "at the top and in the section"
    frame = pd.read_csv(path / "val_predictions.csv", dtype=str)
    frame.assign(group="v" + frame["group"]).to_csv(path / "val_predictions.csv", index=False)
    assert "no group in both, in all 1 runs" in write(tmp_path).text


def test_copies_in_training_are_a_leak_and_sets_of_one_name_are_told_apart(make_run, tmp_path):
    change_summary(make_run("clean/seed-0"), siblings_in_training={"test": 0.0})
    labels = ["a", "b", "c", "a"]
    change_summary(make_run("leaky/seed-0", labels), siblings_in_training={"test": 0.75})
    text = write(tmp_path).text
    assert text.count("copies in training: LEAK: 75.0% of the test images.") == 2
    assert "cells (60 images in 60 groups, 3 classes, as in clean)" in text
    assert "cells (4 images in 4 groups, 3 classes, as in leaky)" in text


def test_an_earlier_stage_is_no_rival_in_the_verdict(make_run):
    path = make_run("m/seed-0", other_tests=("stage-1",))
    (test_set,) = find_test_sets(find_classifiers([path]))
    results, pairs = scores.build_results(test_set), scores.build_pairs(test_set)
    assert len(results) == 2
    assert len(pairs) == 1
    sentences = verdict.describe_test_set(test_set, results, pairs)
    assert sentences[1].endswith("nothing to compare it with.")


def test_the_map_of_features_is_drawn_from_its_file(make_run, tmp_path):
    path = make_run("m/seed-0")
    before = write(tmp_path)
    assert "no run here has a file embedding.csv" in before.text
    rows = [f"s{i},{'ab'[i % 2]},{m},{i},{-i}" for i in range(9) for m in ("PCA", "UMAP")]
    (path / "embedding.csv").write_text("\n".join(["sample_id,label,method,x,y", *rows]))
    page = write(tmp_path)
    assert "features of 9 images, a point each" in page.text
    assert sum(t == "img" for t, _ in page.tags) == sum(t == "img" for t, _ in before.tags) + 1
    (path / "embedding.csv").write_text("sample_id,label,method,x,y\ns,a,PCA,0,inf")
    with pytest.raises(ValueError, match="no finite numbers"):
        write(tmp_path)
    (path / "embedding.csv").write_text("a,b\n1,2")
    with pytest.raises(ValueError, match="no map of features"):
        write(tmp_path)


def test_numbers_at_the_map_s_axes_do_not_overprint(monkeypatch):
    drawn = []
    monkeypatch.setattr(html_figures, "to_pixels", lambda figure, **_: drawn.append(figure))
    x = np.linspace(-6e-4, 1.1e-3, 20)
    table = pd.DataFrame({"method": "PCA", "label": "a", "x": x, "y": x[::-1]})
    html_figures.draw_embedding(table, is_synthetic=False)
    canvas.to_pixels(drawn[0])
    (axes,) = drawn[0].axes
    boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    assert len(boxes) >= 3
    assert all(first.x1 < second.x0 for first, second in pairwise(boxes))


def test_a_file_as_out_and_a_folder_without_an_audit_are_refused_before_runs_are_read(tmp_path):
    (tmp_path / "README.md").touch()
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match=r"--out .*README\.md is a file; name a folder\."):
        write_report([tmp_path / "runs"], tmp_path / "README.md")
    with pytest.raises(ValueError, match=r"holds no audit\.json; audit_data\.py --out writes it\."):
        write_report([tmp_path / "runs"], tmp_path / "out", [tmp_path])


def test_commands_and_environment_are_those_of_the_runs(make_run, tmp_path):
    path = make_run("m/seed-0", config={"precision": "bf16-mixed"}, options={"epochs": 7})
    environment = {"git_commit": "0123456789abcdef", "git_dirty": True, "device": "cuda",
                   "packages": {"torch": "2.12.1"}}  # fmt: skip
    (path / "environment.json").write_text(json.dumps(environment))
    text = write(tmp_path).text
    assert "python experiments/small_cnn.py --data-root cells --epochs 7" in text
    for part in ("0123456789ab, with changes", "torch 2.12.1", "bf16-mixed", "cuda"):
        assert part in text
    assert "/somewhere/secret" not in text
    (path / "environment.json").write_text("{")
    with pytest.raises(ValueError, match=r"environment.json cannot be read"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"options": [1]}, r"options is \[1\], no mapping"),
        ("summary.json", {"seed": "0"}, "seed is '0', no whole number"),
        ("summary.json", {"splits": 3}, "splits is 3, no mapping"),
        ("summary.json", {"label_percent": 1, "other_tests": []}, "other_tests is"),
    ],
)
def test_damaged_runs_are_refused_by_name(make_run, tmp_path, file, changes, message):
    path = make_run("m/seed-0")
    content = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps({**content, **changes}))
    with pytest.raises(ValueError, match=message):
        write(tmp_path)


def test_what_cannot_be_reported_is_refused(make_run, tmp_path):
    with pytest.raises(ValueError, match="No such folder"):
        write(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="No finished classifier run below"):
        write(tmp_path)
    path = make_run("m/seed-0")
    with pytest.raises(ValueError, match="is a run folder"):
        report.main(report.Options((path,), path))


def test_a_table_without_rows_of_one_class_has_no_roc(make_run, tmp_path):
    make_run("m/seed-0", ["a"] * 6)
    page = write(tmp_path)
    assert "The test images are all of one class" in page.text
    assert "nan" not in page.text


def test_numbers_are_written_as_they_are_read():
    assert [text_tables.format_number(value) for value in (0.12345, None)] == ["0.123", "-"]
    assert [verdict.format_p(value) for value in (0.0004, 0.25, float("nan"))] == [
        "< 0.001", "0.250", "-",
    ]  # fmt: skip


def test_no_torch_is_needed():
    code = "import sys, experiments.reporting.html.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
