"""The rules that come with the agent: TOML files, one subject each. docs/rules.md explains them."""
