// What the sandbox container of every pod on the rig's nodes runs: it only has to be there.
module rdmamesh.io/e2e/tools/pause

go 1.26.0
