"""Methods whose work grows with the number of modalities keep the contract with fifteen."""

from pathlib import Path
from typing import Any

import pytest

from benchmark.contract import Case, Check, runs

COMPOSITIONS = ("mbcd", "swad+mbcd", "ogm_ge", "rna_net", "gmp")
OF_OTHER_NUMBERS = (runs.takes_any_number_of_modalities, runs.takes_one_and_three_sources)


class Fifteen(Case):
    """A composition whose runs have fifteen modalities."""

    def _usual(self) -> dict[str, Any]:
        usual = super()._usual()
        options = usual["dataset_options"] | {"modalities": "15", "samples_per_class": "5"}
        return {**usual, "dataset_options": options, "modalities": ()}


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    def scratch(name: str) -> Path:
        return tmp_path_factory.mktemp(name.replace("+", "-"))

    return {name: Fifteen(name, scratch(name)) for name in COMPOSITIONS}


@pytest.mark.slow
@pytest.mark.parametrize(
    "check", [c for c in runs.CHECKS if c not in OF_OTHER_NUMBERS], ids=lambda check: check.__name__
)
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_contract_with_fifteen_modalities(
    case_of: dict[str, Case], composition: str, check: Check
) -> None:
    case = case_of[composition]
    assert len(case.whole.spec.modalities) == 15
    check(case)
