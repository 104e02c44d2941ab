"""What a run is made of: one YAML is one choice, a key is a constructor argument."""
