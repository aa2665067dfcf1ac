"""Studies from a PACS by DICOMweb (PS3.18): queried, fetched, scored, and the results stored back."""
