"""Each claim of the article has the right number and an explanation, without heavy imports.

The numbers are typed in here, from the issue; the source computes them.
"""

import pytest

from paramshare.sharing.article import Claim, claims, table


def claim_about(about: str) -> Claim:
    (claim,) = (claim for claim in claims() if claim.about == about)
    return claim


@pytest.mark.parametrize(
    ("about", "says", "true", "reasons"),
    [
        ("weights, shared", "288", ["288"], ["3 · 3 · 32", "one input channel without a bias", "896"]),
        ("weights, not shared", "192·192·32 = 1.2 million", ["10,616,832", "1,179,648"], ["outputs, not of weights"]),
        (
            "factor that sharing saves",
            "500,000 times",
            ["36,864 times"],
            ["10,616,832 / 288", "1,179,648 / 288 = 4,096"],
        ),
        (
            "weights, locally connected",
            "more than 10 million",
            ["10,616,832"],
            ["Right", "10,543,232 of the weights meet data"],
        ),
        ("weights, fully connected", None, ["43,486,543,872"], ["1,179,648 outputs", "36,864 inputs"]),
        ("Inception v3's real first layer", None, ["864 ", "19,181,664 ", "190,539,993,696 "], ["22,201", "149 · 149"]),
    ],
)
def test_article_claim_has_quotation_number_and_explanation(
    about: str, says: str | None, true: list[str], reasons: list[str]
) -> None:
    claim = claim_about(about)
    assert claim.says == says
    assert all(number in claim.true for number in true)
    assert all(reason in claim.why for reason in reasons)


def test_article_claims_are_about_different_quantities() -> None:
    assert len({claim.about for claim in claims()}) == len(claims()) == 6


@pytest.mark.parametrize("width", [60, 80, 88, 100])
def test_article_table_has_every_claim_within_its_width(width: int) -> None:
    text = table(width)
    assert max(map(len, text.splitlines())) <= width
    flowing = " ".join(text.split())
    for claim in claims():
        assert all(part in flowing for part in (claim.about, claim.true, claim.why, claim.says or "–"))
