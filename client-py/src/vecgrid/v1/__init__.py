"""Generated code of the public contract `vecgrid.v1`: made by generate.sh, never edited by hand."""
