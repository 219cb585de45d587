"""Icon sets as a corpus and as evaluation sets: many styles, with names that their artists gave."""
