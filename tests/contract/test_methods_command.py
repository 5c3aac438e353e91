"""`python -m methods`: the list, the cards, and what `check` finds in a user's own class."""

import re
import subprocess
import sys

import pytest
import torch

import methods
from benchmark import contract
from benchmark.contract.cost import Cost, Passes, measure
from methods.__main__ import main

FINE = """
    def loss(self, batch):
        logits = self.model.fuse(self.model.embed(batch.features))
        return {"fused": F.cross_entropy(logits, batch.labels, label_smoothing=0.1)}
"""
HEAD = """
import random

import torch
from torch.nn import functional as F

from methods import register
from methods.base import Method


@register("NAME")
class Mine(Method):
    paper = "Me, 2030"
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a method's file; what it registers is forgotten afterwards."""
    methods.names()
    monkeypatch.setattr(methods._registry, "_items", dict(methods._registry._items))
    monkeypatch.setattr(methods._registry, "_taken_twice", {})
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write_file(name, body, head=HEAD):
        file = tmp_path / f"{name}.py"
        file.write_text(head.replace("NAME", name) + body)
        return file

    before = set(sys.modules)
    yield write_file
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def verdicts(printed):
    """Return {title: reason, or "" where it passes}."""
    lines = re.findall(
        r"^(pass|FAIL)  ([^:\n]+(?:: more than 95 % right)?)(?:: (.*))?$", printed, re.M
    )
    return {
        title: (reason or "no reason") if mark == "FAIL" else "" for mark, title, reason in lines
    }


def failing(capsys):
    return {t: r for t, r in verdicts(capsys.readouterr().out).items() if r}


# list and show


def test_help_imports_neither_torch_nor_the_methods():
    code = (
        "import sys\n"
        "from methods.__main__ import main\n"
        "for arguments in (['--help'], ['check', '--help']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit as e: assert e.code == 0\n"
        "assert not {'torch', 'rich', 'methods.erm', 'benchmark'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "exit codes" in done.stdout


def test_without_arguments_every_method_is_listed_under_its_family(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    family, families = None, {}
    for line in printed.splitlines():
        if line.endswith(":"):
            family = line[:-1]
        elif line and family:
            families[line.split()[0].removesuffix("+")] = family
    for name in methods.names():
        cls = methods.components(name)[0]
        assert families[name] == cls.family, name
    (row,) = (line for line in printed.splitlines() if line.startswith("ogm_ge "))
    assert "Peng et al., CVPR 2022" in row
    assert "2+ modalities" in row
    assert "1 + 1" in row
    assert "alpha=0.3 ge=True" in row
    assert "\nswad+ " in printed
    assert "\x1b" not in printed


def test_on_a_terminal_the_list_is_a_table(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "━" in printed
    assert "ogm_ge" in printed


def test_show_prints_paper_equations_and_hyper_parameters(capsys):
    assert main(["show", "mbcd"]) == 0
    printed = capsys.readouterr().out
    assert "MBCD: modality-balanced collaborative distillation." in printed
    assert "(9) L = CE(f(θ'), y)" in printed
    assert "beta = 0.999, search" in printed
    assert "valid 0.0 to 1.0" in printed
    assert "Encoder passes per step: 3 + 3" in printed


def test_show_of_a_composition_shows_its_parts_and_of_a_wrapper_that_alone(capsys):
    assert main(["show", "swad+mbcd", "ema"]) == 0
    printed = capsys.readouterr().out
    kinds = re.findall(r"^(\w+): (wrapper|method) of", printed, re.M)
    assert kinds == [("swad", "wrapper"), ("mbcd", "method"), ("ema", "wrapper")]


# The cost


@pytest.mark.parametrize(
    ("composition", "forward", "backward"),
    [
        ("erm", 1, 1),
        ("unimodal", 1, 1),
        ("sam", 2, 2),
        ("sam+joint", 2, 2),
        # The embeddings, the look-ahead and the teacher; each encoder's own loss, and both paths.
        ("mbcd", 3, 3),
        ("sam+mbcd", 6, 6),
        ("swad+mbcd", 3, 3),
    ],
)
def test_the_cost_counts_passes_through_the_encoders(composition, forward, backward):
    assert measure(composition) == Cost(Passes(forward, backward), Passes(0, 0))


def test_half_a_batch_and_half_of_the_encoders_count_half(write, monkeypatch):
    class Half(methods.components("erm")[0]):
        name = "half"

        def epoch_start(self):
            for batch in self.run.train_loader():
                self.model.embed(batch.features)

        def loss(self, batch):
            with torch.no_grad():
                self.model.embed(batch.features)
            embeddings = self.model.embed({k: x[:4] for k, x in batch.features.items()})
            first, *others = embeddings
            alone = {first: embeddings[first], **{k: embeddings[k].detach() for k in others}}
            loss = self.model.fuse(alone).square().sum()
            # Reaches the embeddings and no encoder.
            torch.autograd.grad(loss, embeddings[first], retain_graph=True)
            return {"fused": loss}

    monkeypatch.setitem(methods._registry._items, "half", Half)
    cost = measure("half")
    assert cost == Cost(Passes(1.5, 0.25), Passes(1, 0))
    assert str(cost) == "1.5 + 0.25 (1 + 0 per epoch)"


# check


@pytest.mark.slow
def test_a_good_class_in_a_file_passes_every_check(write, capsys):
    file = write("smoothed_for_test", FINE)
    assert main(["check", str(file)]) == 0
    printed = capsys.readouterr().out
    found = verdicts(printed)
    assert len(found) == 22
    assert not any(found.values()), found
    assert "smoothed_for_test: 22 of 22 checks pass" in printed


def test_a_dotted_module_of_a_package_is_found_with_all_it_registers(
    write, tmp_path, monkeypatch, capsys
):
    package = tmp_path / "lab_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write("lab_of_test/one", FINE.replace("0.1", "0.2"), HEAD.replace("NAME", "lab_one"))
    second = HEAD.replace("NAME", "lab_two").replace("Mine", "Two")
    write("lab_of_test/two", "    from lab_of_test.one import Mine\n    loss = Mine.loss\n", second)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(contract, "CHECKS", ())
    assert main(["check", "lab_of_test.two"]) == 0
    assert re.findall(r"^(\w+): 0 of", capsys.readouterr().out, re.M) == ["lab_two"]
    assert main(["check", "lab_of_test", str(package / "one.py"), "swad+mbcd"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^([\w+]+): 0 of", printed, re.M) == ["lab_one", "lab_two", "swad+mbcd"]


PLANTED = {
    "state_advanced_in_compute_grads": (
        FINE
        + """
    def setup(self, model, run):
        super().setup(model, run)
        self.register_buffer("seen", torch.zeros(()))

    def compute_grads(self, batch):
        super().compute_grads(batch)
        self.seen += 1
""",
        {"Computing gradients twice advances no state and gives the same gradients": "state/seen"},
    ),
    "prediction_depends_on_the_batch": (
        FINE
        + """
    def predict(self, features, present=None, model=None):
        logits = super().predict(features, present, model)
        fused = logits["fused"]
        return {"fused": fused - 0.1 * fused.mean(dim=0)}
""",
        {"A sample's prediction does not depend on its batch": "fused is off by"},
    ),
    "unimodal_heads_trained_but_not_declared": (
        """
    def loss(self, batch):
        embeddings = self.model.embed(batch.features)
        logits = [self.model.fuse(embeddings), *self.model.unimodal(embeddings).values()]
        return {str(i): F.cross_entropy(x, batch.labels) for i, x in enumerate(logits)}
""",
        {"Unimodal heads predict exactly where training moves them": "trains_unimodal"},
    ),
    "not_a_number_for_one_sample": (
        """
    def loss(self, batch):
        logits = self.model.fuse(self.model.embed(batch.features))
        spread = logits.var(dim=0).mean()
        return {"fused": F.cross_entropy(logits, batch.labels), "spread": 0.001 * spread}
""",
        {"Batches that lack classes or hold one sample leave everything finite": "not finite"},
    ),
    "pythons_random_numbers": (
        """
    def loss(self, batch):
        logits = self.model.fuse(self.model.embed(batch.features))
        return {"fused": (1 + random.random()) * F.cross_entropy(logits, batch.labels)}
""",
        {
            "Two runs with one seed are bitwise equal": "second run/",
            "A run that was interrupted twice and resumed": "resumed run/",
        },
    ),
    "state_that_no_checkpoint_holds": (
        """
    steps = 0

    def loss(self, batch):
        logits = self.model.fuse(self.model.embed(batch.features))
        return {"fused": F.cross_entropy(logits, batch.labels) / (1 + self.steps)}

    def after_step(self):
        self.steps += 1
""",
        {
            "A method rebuilt from its saved state ends where the uninterrupted one": "differs",
            "A run that was interrupted twice and resumed": "resumed run/",
        },
    ),
    "a_missing_modality_that_matters": (
        FINE
        + """
    def predict(self, features, present=None, model=None):
        return super().predict(features, None, model)
""",
        {"A missing modality's values do not matter": "without a is off by"},
    ),
    "an_encoder_that_is_not_trained": (
        """
    def loss(self, batch):
        embeddings = self.model.embed(batch.features)
        first = next(iter(embeddings))
        embeddings[first] = embeddings[first].detach()
        logits = self.model.fuse(embeddings)
        return {"fused": F.cross_entropy(logits, batch.labels)}
""",
        {"Everything that a prediction depends on is trained": "untrained ['encoders.a."},
    ),
    "other_initial_weights": (
        FINE
        + """
    def setup(self, model, run):
        super().setup(model, run)
        for p in model.fusion.parameters():
            torch.nn.init.normal_(p, std=0.1)
""",
        {"It starts from the weights of ERM": "initial weights/fusion.0.weight differs"},
    ),
    "a_prediction_that_counts": (
        FINE
        + """
    def setup(self, model, run):
        super().setup(model, run)
        self.register_buffer("asked", torch.zeros(()))

    def predict(self, features, present=None, model=None):
        self.asked += 1
        return super().predict(features, present, model)
""",
        {"Predicting twice gives the same, and changes neither": "state/asked differs"},
    ),
    "a_modality_by_name": (
        FINE.replace(
            "batch):", "batch):\n        batch.features.get('a', batch.features.get('m2')).sum()"
        ),
        {"Any number of modalities within the declared limits trains": "with 1 modalities: "},
    ),
    "two_sources_needed_but_not_declared": (
        FINE.replace("batch):", "batch):\n        assert len(self.run.domains) > 1, 'one source'"),
        {"One and three source domains train": "with 1 source domains: one source"},
    ),
    "a_term_for_each_sample": (
        FINE.replace("label_smoothing=0.1", "reduction='none'"),
        {"Every loss term is a finite scalar": "fused is not a scalar but of shape (8,)"},
    ),
    "nothing_is_learned": (
        FINE.replace("batch.labels,", "batch.labels[torch.randperm(len(batch.labels))],"),
        {"32 samples are learned by heart: more than 95 % right": "of the samples it was"},
    ),
    "a_default_out_of_range": (
        "    from methods.hyperparameters import hyper\n"
        "    from dataclasses import make_dataclass\n"
        "    field = hyper(2.0, 'a value that is too large', high=1.0)\n"
        "    Hyperparameters = make_dataclass('H', [('rate', float, field)], frozen=True)\n" + FINE,
        {"Hyper-parameters are explained": "a_default_out_of_range.rate=2.0: must be finite"},
    ),
    "a_hyper_parameter_without_help": (
        "    from methods.hyperparameters import hyper\n"
        "    from dataclasses import make_dataclass\n"
        "    field = hyper(2.0, 'rate')\n"
        "    Hyperparameters = make_dataclass('H', [('rate', float, field)], frozen=True)\n" + FINE,
        {"Hyper-parameters are explained": "has no line of help"},
    ),
    "old_gradients_that_leak": (
        FINE
        + """
    def compute_grads(self, batch):
        self.total(self.loss(batch)).backward()
""",
        {"Gradients of an earlier batch do not leak into those of a later one": "differs"},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_fails_the_check_that_is_named_for_it(write, capsys, monkeypatch, name):
    body, expected = PLANTED[name]
    checks = [c for c in contract.CHECKS if contract.title(c).startswith(tuple(expected))]
    assert len(checks) == len(expected)
    monkeypatch.setattr(contract, "CHECKS", checks)
    assert main(["check", str(write(name, body))]) == 1
    found = failing(capsys)
    assert len(found) == len(expected)
    for title, reason in expected.items():
        (said,) = (r for t, r in found.items() if t.startswith(title))
        assert reason in said


def test_an_exception_is_reported_with_its_place(write, capsys):
    file = write("raises_for_test", "    def loss(self, batch):\n        return {}[batch.oops]\n")
    assert main(["check", str(file)]) == 1
    found = failing(capsys)
    assert len(found) > 10
    (reason,) = (r for t, r in found.items() if t.startswith("Every loss term"))
    assert reason.startswith("AttributeError: 'Batch' object has no attribute 'oops' (")
    assert re.search(r"raises_for_test\.py:\d+\)$", reason)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("mbdc", "Did you mean 'mbcd'"),
        ("no.such.module", "unknown method, module or file 'no.such.module'"),
        ("nowhere.py", "there is no file nowhere.py"),
        ("json", "json registers no method"),
        ("erm+mbcd", "erm is not a wrapper"),
    ],
)
def test_wrong_use_says_why(capsys, target, reason):
    assert main(["check", target]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import nowhere_at_all", "cannot be imported: No module named 'nowhere_at_all'"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        (HEAD.replace("NAME", "erm") + FINE, "'erm' is registered twice, by methods.erm.ERM and"),
        ("import sys\nsys.exit(0)", 'below `if __name__ == "__main__":`'),
        ("raise SystemExit", "ends the process when it is imported: put `sys.exit(main())` below"),
        ("raise GeneratorExit('gone')", "cannot be imported: GeneratorExit: gone"),
    ],
)
def test_a_file_that_cannot_be_used_is_wrong_use(write, capsys, body, reason):
    assert main(["check", str(write("cannot_be_used", body, head=""))]) == 2
    assert reason in capsys.readouterr().err


def test_ctrl_c_while_a_file_is_imported_is_no_wrong_use(write, capsys):
    file = write("interrupted_on_import", "raise KeyboardInterrupt\n", head="")
    assert main(["check", str(file)]) == 130
    assert capsys.readouterr().err == "\nstopped\n"


def test_a_file_with_the_name_of_another_module_is_refused(write, capsys):
    assert main(["check", str(write("json", FINE))]) == 2
    assert "another module is called json" in capsys.readouterr().err


def test_show_of_an_unknown_name_is_wrong_use(capsys):
    assert main(["show", "swadd"]) == 2
    assert "Did you mean 'swad'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_itself_checks_a_file_in_the_working_directory(tmp_path):
    (tmp_path / "mine_of_test.py").write_text(HEAD.replace("NAME", "mine_of_test") + FINE)
    command = [sys.executable, "-m", "methods", "check", "mine_of_test"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("mine_of_test: 22 of 22 checks pass")
