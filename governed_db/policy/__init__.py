"""MAY: rules in TOML, three presets, one decision."""
