//! IOMMU units: which exist, and later VT-d and AMD-Vi domains.

#![no_std]
