from pathlib import Path

import pytest

import datasets
import methods
from mmdg_common import Registry, UsageError, unknown


def test_the_datasets_package_is_ours():
    here = Path(__file__).resolve().parents[2]
    found = Path(datasets.__file__).resolve().parents[1]
    assert found == here, (
        f"another package called 'datasets' shadows this project's: {datasets.__file__}. "
        "Uninstall it, or use the project's own environment: make install"
    )


def test_an_unknown_name_offers_the_nearest_and_lists_the_valid_ones():
    message = str(unknown("method", "mcbd", ["erm", "mbcd"]))
    assert "Did you mean 'mbcd'?" in message
    assert "Valid: erm, mbcd." in message


def test_a_name_like_none_of_the_valid_ones_gets_no_suggestion():
    assert "Did you mean" not in str(unknown("method", "zzzz", ["erm", "mbcd"]))


def test_swapped_letters_are_likelier_than_other_letters():
    assert "Did you mean 'erm'?" in str(unknown("method", "emr", ["erm", "mbcd", "pmr"]))


def test_a_suggestion_keeps_the_case_of_the_valid_name():
    assert "'Erm'" in str(unknown("method", "ERM", ["Erm"]))


def test_a_name_cannot_be_taken_twice():
    registry: Registry[type] = Registry("thing", "datasets")
    registry.register("a")(int)
    with pytest.raises(ValueError, match="thing 'a' is registered twice"):
        registry.register("a")(str)


def test_every_dataset_and_method_is_found_without_a_list_of_them():
    import methods

    assert {"synthetic", "utd_mhad"} <= set(datasets.names())
    assert {
        "erm",
        "joint",
        "unimodal",
        "late_fusion",
        "modality_dropout",
        "ogm_ge",
        "mbcd",
        "ema",
        "swad",
    } <= set(methods.names())


@pytest.mark.parametrize("name", ["synthetik", "utd-mhad"])
def test_opening_an_unknown_dataset_says_which_was_meant(name):
    with pytest.raises(UsageError, match="Did you mean"):
        datasets.create(name)


def test_a_module_that_cannot_be_imported_says_so_at_every_look_up(tmp_path, monkeypatch):
    package = tmp_path / "broken_plugins"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "bad.py").write_text("import no_such_module_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    registry: Registry[type] = Registry("thing", "broken_plugins")
    for _ in range(2):
        with pytest.raises(ImportError, match="no_such_module_anywhere"):
            registry.names()


def test_the_modules_of_compositions_are_those_that_another_process_imports(monkeypatch):
    assert methods.modules(["swad+mbcd", "ema", "mbcd"]) == [
        "methods.swad",
        "methods.mbcd",
        "methods.ema",
        "methods.erm",
    ]
    main = type("Mine", (methods.components("erm")[0],), {"__module__": "__main__"})
    monkeypatch.setitem(methods._registry._items, "mine_of_main", main)
    assert methods.modules(["ema+mine_of_main"]) == ["methods.ema"]
