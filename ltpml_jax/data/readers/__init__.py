"""Readers of label files: own tables, COCO, VOC, the published lists and pickles."""
