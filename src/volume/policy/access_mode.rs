//! How many nodes and pods can use a volume at the same time, and whether they can write.

/// The access modes of the CSI specification, `VolumeCapability.AccessMode.Mode`. NFS supports all of them. The
/// orchestrator sees to it that a volume for one node is used on one node; the driver sees to the rest on that node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// Read and write on one node. This older mode does not say by how many pods.
    SingleNodeWriter,
    /// Read on one node.
    SingleNodeReaderOnly,
    /// Read on many nodes.
    MultiNodeReaderOnly,
    /// Read on many nodes, and write on one of them.
    MultiNodeSingleWriter,
    /// Read and write on many nodes.
    MultiNodeMultiWriter,
    /// Read and write by one pod of one node: Kubernetes' `ReadWriteOncePod`.
    SingleNodeSingleWriter,
    /// Read and write by many pods of one node.
    SingleNodeMultiWriter,
}

impl AccessMode {
    /// Whether the volume can only be read.
    #[must_use]
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::SingleNodeReaderOnly | Self::MultiNodeReaderOnly)
    }

    /// Whether a second target on the same node has to be refused.
    #[must_use]
    pub fn allows_one_target_only(self) -> bool {
        self == Self::SingleNodeSingleWriter
    }
}
