"""Results as DICOM objects of the source's own study: Segmentation, Parametric Map, structured report, captures."""
