//! `RunInstances`: one order, one token, one outcome.
//!
//! Subnet and type of the order override the launch template's. A template that declares network interfaces cannot take a subnet: EC2 refuses
//! it with `InvalidParameterCombination`; its security groups belong on the template itself.

use aws_sdk_ec2::{
    Client,
    operation::run_instances::builders::RunInstancesFluentBuilder,
    types::{InstanceType, LaunchTemplateSpecification, ResourceType, Tag, TagSpecification},
};
use onsale_api::names;
use onsale_cloud::{CloudError, LaunchOrder, Launched};

use crate::{
    describe,
    errors::{Failure, TOKEN_OF_TERMINATED},
};

/// EC2's bucket of instances to launch holds 1000: a larger order is never granted.
const MOST: i32 = 1000;

/// Places the order. A replay answers with the same instances, in whatever state they are by now; also terminated ones are there because of this order.
pub(crate) async fn launch(client: &Client, cluster: &str, order: &LaunchOrder) -> Result<Launched, CloudError> {
    if !(1..=MOST).contains(&order.count) {
        return Err(CloudError::Invalid { message: format!("an order takes 1 to {MOST} instances, not {}", order.count) });
    }
    let found = match request(client, cluster, order).send().await {
        Ok(output) => output.instances.unwrap_or_default().into_iter().filter_map(|i| i.instance_id).collect(),
        Err(error) => {
            let failure = Failure::from(error);
            match failure.code() {
                Some(TOKEN_OF_TERMINATED) => terminated(client, cluster, order).await?,
                _ => return Err(failure.of_launch(order)),
            }
        }
    };
    match found {
        none if none.is_empty() => Err(CloudError::Unavailable { message: "RunInstances answered without instances".to_owned() }),
        mut instances => {
            instances.sort_unstable();
            Ok(Launched { instances })
        }
    }
}

/// EC2 does not name the instances of a token once they are terminated; their tags do, for about an hour.
async fn terminated(client: &Client, cluster: &str, order: &LaunchOrder) -> Result<Vec<String>, CloudError> {
    let instances = describe::of_launch(client, cluster, &order.owner.pool_uid, order.sequence).await?;
    if instances.is_empty() {
        let message = format!("the instances of launch {} are terminated and forgotten: a new launch needs a new token", order.sequence);
        return Err(CloudError::Invalid { message });
    }
    Ok(instances)
}

fn request(client: &Client, cluster: &str, order: &LaunchOrder) -> RunInstancesFluentBuilder {
    let template = LaunchTemplateSpecification::builder()
        .set_launch_template_id(order.launch_template.id.clone())
        .set_launch_template_name(order.launch_template.name.clone())
        .version(&order.launch_template.version)
        .build();
    // In the launch call itself: an instance without its owner's tags would be nobody's.
    let tagged = [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
    let tags = tags(cluster, order);
    client
        .run_instances()
        .client_token(&order.token)
        .launch_template(template)
        .instance_type(InstanceType::from(order.instance_type.as_str()))
        .subnet_id(&order.subnet)
        .min_count(1)
        .max_count(order.count)
        .set_tag_specifications(Some(
            tagged.map(|kind| TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build()).to_vec(),
        ))
}

fn tags(cluster: &str, order: &LaunchOrder) -> Vec<Tag> {
    let tag = |key: &str, value: String| Tag::builder().key(key).value(value).build();
    vec![
        tag(names::TAG_CLUSTER, cluster.to_owned()),
        tag(names::TAG_POOL, order.owner.pool_uid.clone()),
        tag(names::TAG_POOL_NAME, order.owner.pool_name.clone()),
        tag(names::TAG_LAUNCH, order.sequence.to_string()),
        tag("Name", format!("onsale-{}", order.owner.pool_name)),
        // What the AWS cloud controller and the CNI go by.
        tag(&format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned()),
    ]
}
