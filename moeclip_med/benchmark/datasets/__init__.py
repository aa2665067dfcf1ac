"""Data sets with known answers: the published ones in their published layouts, and anyone's own folders."""
