"""Tuned settings as data: one TOML file per algorithm, tables [preset name."environment id"]."""
