"""Footage from before (历史视音频导入): a folder and its table become originals whose provenance says "imported"."""
