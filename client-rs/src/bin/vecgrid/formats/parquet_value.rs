//! A cell of a Parquet column as a JSON value of the same type.

use arrow_array::{
    Array, ArrowPrimitiveType, GenericListArray, OffsetSizeTrait, cast::AsArray, temporal_conversions,
    types::*,
};
use arrow_schema::{DataType, TimeUnit};
use serde_json::{Map, Value, json};

/// Whether every cell of this type has a JSON form.
pub fn is_supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Date32
        | DataType::Timestamp(..) => true,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            is_supported(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_supported(field.data_type())),
        DataType::Dictionary(_, values) => is_supported(values),
        _ => false,
    }
}

/// The cell of a row. An error is a sentence for the row's owner.
pub fn value(array: &dyn Array, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => json!(primitive::<Int8Type>(array, row)),
        DataType::Int16 => json!(primitive::<Int16Type>(array, row)),
        DataType::Int32 => json!(primitive::<Int32Type>(array, row)),
        DataType::Int64 => json!(primitive::<Int64Type>(array, row)),
        DataType::UInt8 => json!(primitive::<UInt8Type>(array, row)),
        DataType::UInt16 => json!(primitive::<UInt16Type>(array, row)),
        DataType::UInt32 => json!(primitive::<UInt32Type>(array, row)),
        DataType::UInt64 => json!(primitive::<UInt64Type>(array, row)),
        DataType::Float16 => number(primitive::<Float16Type>(array, row).to_f64())?,
        DataType::Float32 => number(primitive::<Float32Type>(array, row).into())?,
        DataType::Float64 => number(primitive::<Float64Type>(array, row))?,
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => json!(array.as_string::<i64>().value(row)),
        DataType::Utf8View => json!(array.as_string_view().value(row)),
        DataType::Date32 => {
            let date = temporal_conversions::date32_to_datetime(primitive::<Date32Type>(array, row));
            json!(date.ok_or("a date out of range")?.date().to_string())
        }
        DataType::Timestamp(unit, zone) => {
            let time = match unit {
                TimeUnit::Second => {
                    temporal_conversions::timestamp_s_to_datetime(primitive::<TimestampSecondType>(
                        array, row,
                    ))
                }
                TimeUnit::Millisecond => {
                    temporal_conversions::timestamp_ms_to_datetime(primitive::<TimestampMillisecondType>(
                        array, row,
                    ))
                }
                TimeUnit::Microsecond => {
                    temporal_conversions::timestamp_us_to_datetime(primitive::<TimestampMicrosecondType>(
                        array, row,
                    ))
                }
                TimeUnit::Nanosecond => {
                    temporal_conversions::timestamp_ns_to_datetime(primitive::<TimestampNanosecondType>(
                        array, row,
                    ))
                }
            };
            // Its debug form is ISO 8601. A zone, whatever its name, means that the value is UTC.
            let time = time.ok_or("a time out of range")?;
            json!(format!("{time:?}{}", if zone.is_some() { "Z" } else { "" }))
        }
        DataType::List(_) => list(array.as_list::<i32>(), row)?,
        DataType::LargeList(_) => list(array.as_list::<i64>(), row)?,
        DataType::FixedSizeList(..) => values(&array.as_fixed_size_list().value(row))?,
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(array.columns()) {
                object.insert(field.name().clone(), value(column, row)?);
            }
            Value::Object(object)
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().ok_or("a broken dictionary")?;
            value(dictionary.values(), key)?
        }
        other => return Err(format!("columns of {other} are not supported")),
    })
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn number(number: f64) -> Result<Value, String> {
    serde_json::Number::from_f64(number)
        .map(Value::Number)
        .ok_or_else(|| format!("{number} has no JSON form"))
}

fn list<O: OffsetSizeTrait>(array: &GenericListArray<O>, row: usize) -> Result<Value, String> {
    values(&array.value(row))
}

fn values(array: &dyn Array) -> Result<Value, String> {
    (0..array.len()).map(|row| value(array, row)).collect::<Result<_, _>>().map(Value::Array)
}
