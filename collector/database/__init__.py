"""What the catalogue's database and the registers' have in common: engine, column types, migrations."""
