"""The plugins that ship with Predis Agent, one folder each; they use the same API as anyone's."""
