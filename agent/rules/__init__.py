"""Rules: when something holds, then do something about it, safely, and see whether it helped."""
