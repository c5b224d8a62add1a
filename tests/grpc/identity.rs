//! The identity service, and the name of a node.

use nfs_subdir_csi::csi::proto;

use crate::Driver;

#[tokio::test]
async fn both_services_report_the_same_name_and_capabilities() {
    let driver = Driver::start().await;
    for client in [&driver.controller, &driver.node] {
        let mut identity = client.identity.clone();
        let info = identity.get_plugin_info(proto::GetPluginInfoRequest {}).await.unwrap().into_inner();
        assert_eq!(info.name, "test.csi.dev");
        assert_eq!(info.vendor_version, env!("CARGO_PKG_VERSION"));
        let request = proto::GetPluginCapabilitiesRequest {};
        let capabilities = identity.get_plugin_capabilities(request).await.unwrap().into_inner();
        assert_eq!(capabilities.capabilities.len(), 3);
        let probe = identity.probe(proto::ProbeRequest {}).await.unwrap().into_inner();
        assert_eq!(probe.ready, Some(true));
    }
}

#[tokio::test]
async fn a_call_that_is_not_offered_is_unimplemented() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let status = controller
        .controller_publish_volume(proto::ControllerPublishVolumeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn a_node_reports_its_name() {
    let driver = Driver::start().await;
    let mut node = driver.node.node.clone();
    let info = node.node_get_info(proto::NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.node_id.as_str(), info.max_volumes_per_node), ("node-1", 0));
}
