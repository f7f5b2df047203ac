//! What becomes of each exit, one file for each subject.
