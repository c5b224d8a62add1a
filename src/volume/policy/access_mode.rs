//! How many may use a volume at once, and how.

/// The access modes of the CSI specification, `VolumeCapability.AccessMode.Mode`. NFS serves all of them; the
/// ones for a single node and a single writer are kept by the orchestrator, and on each node by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// Read and write on one node (the older mode, which does not say by how many pods).
    SingleNodeWriter,
    /// Read on one node.
    SingleNodeReaderOnly,
    /// Read on many nodes.
    MultiNodeReaderOnly,
    /// Read on many nodes, written by one.
    MultiNodeSingleWriter,
    /// Read and write on many nodes.
    MultiNodeMultiWriter,
    /// Read and write by one pod of one node: Kubernetes' `ReadWriteOncePod`.
    SingleNodeSingleWriter,
    /// Read and write by many pods of one node.
    SingleNodeMultiWriter,
}

impl AccessMode {
    /// Whether the volume may only be read.
    #[must_use]
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::SingleNodeReaderOnly | Self::MultiNodeReaderOnly)
    }

    /// Whether a second target on the same node is one too many.
    #[must_use]
    pub fn allows_one_target_only(self) -> bool {
        self == Self::SingleNodeSingleWriter
    }
}
