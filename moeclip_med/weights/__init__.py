"""Named models: where their files come from, what they were made of, and how they are loaded."""
