"""Recorders at USB ports (USB 采集口): seeing them, talking with them, mounting them."""
