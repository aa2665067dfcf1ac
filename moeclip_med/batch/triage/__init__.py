"""The triage list: every series with its score or its reason, as a page, a table and a column file."""

from moeclip_med.batch.triage.lists import write_triage

__all__ = ["write_triage"]
