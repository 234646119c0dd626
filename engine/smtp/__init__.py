"""What mail servers say of a mailbox: dialogue, meaning of replies, pacing, reputation."""
