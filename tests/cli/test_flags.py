"""The recipe that options make or change."""

from muka_fast.cli.flags import recipe_from_flags


def test_labelled_texts_replace_those_of_the_recipe_and_keep_its_other_keys(tmp_path):
    recipe, few = tmp_path / "recipe.yaml", tmp_path / "few \U0001f642.csv"
    few.touch()
    for section in ("{labelled: {texts: old.csv, label_column: topic}}", "{labelled: old.csv}", "pool"):
        recipe.write_text(f"teachers: [org/a, org/b]\ndata: t\nstudent: org/s\noutput: o\nselection: {section}\n")
        labelled = recipe_from_flags(recipe, labelled=[str(few)]).selection.labelled_texts
        assert labelled.texts == [str(few)]
        assert labelled.label_column == ("topic" if "topic" in section else None)
