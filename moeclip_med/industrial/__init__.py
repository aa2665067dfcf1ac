"""Industrial images in their published layouts, crops of them, and what is synthesised from the crops."""
