//! The registry: services by UUID, several instances, versions, notice of arrival and death.

crate::protocol! {
    name: "registry", uuid: 0x6261_746f_6e00_4000_8000_0000_0000_0003, version: 1;

    /// Register an instance: the passed handle is a connection to it. Answer: the instance's number. It is removed when the caller
    /// closes its registry connection, or by `Remove`.
    1 Add add(uuid_low, uuid_high, version) -> (instance);
    /// Remove an instance this caller registered.
    2 Remove remove(instance) -> ();
    /// A connection to an instance, in the first taken slot. `instance`: its number, or 0 for the newest. Answer: its number and version.
    3 Find find(uuid_low, uuid_high, instance) -> (instance, version);
    /// The instance after number `after` (0: the first) of a service. Answer: number and version; ENOENT at the end.
    4 Next next(uuid_low, uuid_high, after) -> (instance, version);
    /// Raise the passed pulse (value 1: arrival, 2: removal, OR-ed) whenever instances of the service come or go.
    5 Watch watch(uuid_low, uuid_high) -> ();
}
