"""The minimal IAM policies of a configuration, made from its settings."""
